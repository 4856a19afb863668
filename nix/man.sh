#!/usr/bin/env bash
# Prints a manual page for the program given as argument, made of what it says of itself: bash man.sh ./bot > bot.1
set -euo pipefail
bot=$1

# Text as roff prints it: backslashes and leading dots mean something there.
plain() { sed -e 's/\\/\\e/g' -e "s/^\([.']\)/\\\\\&\1/" -e 's/-/\\-/g'; }
help() { COLUMNS=100 "$bot" "$@" --help; }

version=$("$bot" version | sed -n '1s/^counterfill //p')
printf '.TH BOT 1 "" "counterfill %s" "counterfill"\n' "$version"
printf '.SH NAME\nbot, auth \\- %s\n' "$(help | sed -n 1p | plain)"
printf '.SH SYNOPSIS\n.B bot\n.I COMMAND\n[options]\n.br\n.B auth\n.I COMMAND\n'
printf '.SH DESCRIPTION\n.nf\n'
help | sed 1d | plain
printf '.fi\n'
for verb in $(help | sed -n '/^Commands:/,/^$/s/^  \([a-z][a-z]*\) .*/\1/p'); do
  [[ $verb == help ]] && continue
  printf '.SH BOT %s\n.nf\n' "${verb^^}"
  help "$verb" | plain
  printf '.fi\n'
done

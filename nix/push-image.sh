# The body of `nix run .#push-image`: IMAGE, REVISION and VERSION are set before it. Prints NAME@DIGEST on standard output.
#
# Every commit's image goes to the tag of its commit; with --release to its version's too, which names one image for good.
# REGISTRY_TLS_VERIFY=false is for a registry on this machine; skopeo reads its login from where it always does.
release=''
if [[ ${1:-} == --release ]]; then
  release=yes
  shift
fi
if [[ $# != 1 || $1 == -* ]]; then
  echo "usage: nix run .#push-image -- [--release] REGISTRY/NAME" >&2
  exit 64
fi
name=$1
case $REVISION in
  *-dirty | unknown)
    echo "push-image: this tree is not a commit ($REVISION); commit first, so that the label says what is inside" >&2
    exit 78
    ;;
esac
verify=${REGISTRY_TLS_VERIFY:-true}
# What has no policy file on this machine (skopeo outside a distribution) accepts what we built ourselves.
skopeo() { command skopeo --insecure-policy "$@"; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# Not every skopeo reads an archive that is packed as a whole; the layers are packed on their way anyhow.
gzip --decompress --stdout "$IMAGE" > "$work/image.tar"
push() {
  skopeo copy --quiet --dest-tls-verify="$verify" --digestfile "$work/digest" \
    "docker-archive:$work/image.tar" "docker://$name:$1" >&2
  echo "push-image: $name:$1 is $(cat "$work/digest")" >&2
}
push "sha-${REVISION:0:12}"
digest=$(cat "$work/digest")
if [[ -n $release ]]; then
  tags=$(skopeo list-tags --tls-verify="$verify" "docker://$name")
  if grep -q --fixed-strings "\"$VERSION\"" <<< "$tags"; then
    found=$(skopeo inspect --tls-verify="$verify" --format '{{.Digest}}' "docker://$name:$VERSION")
    if [[ $found != "$digest" ]]; then
      echo "push-image: $name:$VERSION is another image already ($found): raise the version in Cargo.toml" >&2
      exit 78
    fi
  else
    push "$VERSION"
  fi
fi
echo "$name@$digest"

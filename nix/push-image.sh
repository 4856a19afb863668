# The body of `nix run .#push-image`: IMAGE, REVISION and TAGS are set before it. Prints NAME@DIGEST on standard output.
# REGISTRY_TLS_VERIFY=false is for a registry on this machine; skopeo reads its login from where it always does.
if [[ $# != 1 ]]; then
  echo "usage: nix run .#push-image -- REGISTRY/NAME" >&2
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
policy=(--insecure-policy)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
digests=$work/digest
# Not every skopeo reads an archive that is packed as a whole; the layers are packed on their way anyhow.
gzip --decompress --stdout "$IMAGE" > "$work/image.tar"
for tag in $TAGS; do
  skopeo "${policy[@]}" copy --quiet --dest-tls-verify="$verify" --digestfile "$digests" \
    "docker-archive:$work/image.tar" "docker://$name:$tag" >&2
  echo "push-image: $name:$tag is $(cat "$digests")" >&2
done
echo "$name@$(cat "$digests")"

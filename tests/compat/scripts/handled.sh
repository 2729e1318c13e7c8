# handled.sh KIND X: writes the sum of X and of what the parent wrote, if there is one.
#
# Until its handler has been there, a job of kind `timeout` never ends and one of kind `error` fails.

kind=$1 x=$2
touch begun
if [ ! -e handled ]; then
    case $kind in
        timeout) exec sleep 600 ;;
        error) echo "no luck" && exit 3 ;;
    esac
fi
base=0
[ -e sum.parent ] && base=$(cat sum.parent)
echo $((base + x)) > "$3"

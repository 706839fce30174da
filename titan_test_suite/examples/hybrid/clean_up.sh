# Once the catalogue answers, it has read all it needs: the suppliers' lists are removed.
# Fails when it does not answer yet; the job's retries come back to it.
set -eu
cd "${TITAN_SHARED:-.}"
read -r host port <catalogue.address
exec 3<>"/dev/tcp/$host/$port"
printf 'GET /apple HTTP/1.0\r\n\r\n' >&3
answer=$(tail -n 1 <&3)
echo "an apple costs $answer"
test "$answer" -gt 0
rm -rf suppliers
echo "removed the suppliers' lists"

# Makes catalogue.jar beside this file. Needs a JDK.
set -eu
cd "$(dirname "$0")"
classes=$(mktemp -d)
trap 'rm -r "$classes"' EXIT
javac -d "$classes" Catalogue.java
jar --create --file catalogue.jar --main-class Catalogue -C "$classes" .
echo "made catalogue.jar"

// Command build makes the npm packages of the player (make npm-packages):
//
//	go run ./web/packages/build -version 1.2.0 bin/npm # bin/npm/player and bin/npm/react
//
// It runs in the root of the repository. npm pack makes archives of the folders.
package main

import (
	"flag"
	"fmt"
	"os"

	"github.com/nearcast/nearcast/web/packages"
)

func main() {
	version := flag.String("version", "0.0.0", "a semantic version")
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: build [-version VERSION] FOLDER")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() != 1 {
		flag.Usage()
		os.Exit(2)
	}
	if err := packages.Build(".", flag.Arg(0), *version); err != nil {
		fmt.Fprintln(os.Stderr, "build the npm packages:", err)
		os.Exit(1)
	}
}

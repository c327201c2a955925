// Seat-keeper is the parent of all processes of one seat, and the only one that may be
// root. The Nomad driver "stream" starts it. See package seat/cell/keeper.
//
//	seat-keeper --spec DIR/spec.json
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime"

	"github.com/nearcast/nearcast/internal/version"
	"github.com/nearcast/nearcast/seat/cell"
	"github.com/nearcast/nearcast/seat/cell/cellinit"
	"github.com/nearcast/nearcast/seat/cell/enter"
	"github.com/nearcast/nearcast/seat/cell/internet"
	"github.com/nearcast/nearcast/seat/cell/keeper"
)

const usage = `seat-keeper runs one seat of Nearcast: it makes the cell in which the app runs, and
starts the stream host beside it.

  seat-keeper --spec DIR/spec.json   run the seat that the file describes
  seat-keeper fingerprint            print as JSON what this node has for cells
  seat-keeper --version              print the version
  seat-keeper enter …                internal: run a command in a cell
  seat-keeper init                   internal: the first process of a cell

The Nomad driver "stream" starts it as root, so that each seat gets users and
namespaces of its own. Without root there is no isolation. On SIGTERM the seat ends as
drained.

Exit status: 0 the seat ended well, 1 the seat failed (DIR/exit.json says how),
2 the seat could not begin.
`

// The first thread stays as it is: what belongs to a thread (namespaces, Landlock,
// privileges) is changed on others, which end. The kernel shows the first thread's where
// it is asked about the process.
func init() { runtime.LockOSThread() }

func main() {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case cellinit.Arg:
			cellinit.Main() // does not return
		case internet.HelperArg:
			internet.HelperMain() // does not return
		case enter.Arg:
			os.Exit(enter.Run(os.Args[2:]))
		case fingerprintArg:
			os.Exit(fingerprint(os.Args[2:], os.Stdout))
		}
	}
	os.Exit(run(os.Args[1:]))
}

func run(args []string) int {
	flags := flag.NewFlagSet("seat-keeper", flag.ContinueOnError)
	flags.Usage = func() { fmt.Fprint(flags.Output(), usage) }
	path := flags.String("spec", "", "")
	held := flags.Bool(cell.HeldArg, false, "")
	printVersion := flags.Bool("version", false, "")
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil {
		return 2
	}
	switch {
	case *printVersion:
		fmt.Println("seat-keeper", version.String())
		return 0
	case flags.NArg() > 0:
		fmt.Fprintf(os.Stderr, "seat-keeper: unexpected argument %q; see --help\n", flags.Arg(0))
		return 2
	case *path == "":
		fmt.Fprintln(os.Stderr, "seat-keeper: give --spec DIR/spec.json; see --help")
		return 2
	}
	if *held {
		if err := cell.Held(); err != nil {
			fmt.Fprintln(os.Stderr, "seat-keeper:", err)
			return 2
		}
	}
	return keeper.Run(*path)
}

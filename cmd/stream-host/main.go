// Stream-host runs one seat: it owns the display, the app, the encoder and the
// connection with the browser, and ends when the session ends. The Nomad driver
// "stream" starts it. See package seat for what it does.
//
//	stream-host --spec DIR/spec.json
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/nearcast/nearcast/internal/version"
	"github.com/nearcast/nearcast/seat"
	"github.com/nearcast/nearcast/seat/app"
)

const usage = `stream-host runs one seat of Nearcast: an app on a display, and the stream of its
picture and sound to one person's browser, with their input back to the app.

  stream-host --spec DIR/spec.json   run the seat that the file describes
  stream-host fingerprint            print as JSON what this node can do;
                                     --x-server JSON chooses the display server:
                                     {"server":"xorg","driver":"nvidia"}
  stream-host --version              print the version
  stream-host app-init               internal: the parent process of the app

The Nomad driver "stream" starts it and talks to it over DIR/control.sock. It logs
to DIR/stream-host.log. Its last action is to write how it ended to DIR/exit.json.
On SIGTERM the seat ends as drained: it tells the person, stops the app and
leaves nothing behind.

Exit status: 0 the seat ended well, 1 the seat failed (exit.json says how),
2 the seat could not start.
`

func main() {
	if len(os.Args) > 1 && os.Args[1] == app.InitArg {
		app.InitMain() // does not return
	}
	os.Exit(run(os.Args[1:]))
}

func run(args []string) int {
	flags := flag.NewFlagSet("stream-host", flag.ContinueOnError)
	flags.Usage = func() { fmt.Fprint(flags.Output(), usage) }
	path := flags.String("spec", "", "")
	printVersion := flags.Bool("version", false, "")
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil {
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	// The parent may be dead, and its terminal or pipe gone.
	signal.Ignore(syscall.SIGHUP, syscall.SIGPIPE)

	switch {
	case *printVersion:
		fmt.Println("stream-host", version.String())
		return 0
	// "probe" is what drivers of earlier releases call.
	case flags.Arg(0) == "fingerprint", flags.Arg(0) == "probe":
		want, err := parseXServer(flags.Args()[1:])
		if err != nil {
			return cannotStart(err)
		}
		return fingerprint(ctx, want, os.Stdout)
	case flags.NArg() > 0:
		return cannotStart(fmt.Errorf("unexpected argument %q; see --help", flags.Arg(0)))
	case *path == "":
		return cannotStart(errors.New("give --spec DIR/spec.json, or fingerprint; see --help"))
	}
	spec, err := seat.LoadSpec(*path)
	if err != nil {
		return cannotStart(err)
	}
	log, err := openLog(spec)
	if err != nil {
		return cannotStart(err)
	}
	if seat.Run(ctx, spec, newParts(spec, log), log).Failed() {
		return 1
	}
	return 0
}

func cannotStart(err error) int {
	fmt.Fprintln(os.Stderr, "stream-host:", err)
	return 2
}

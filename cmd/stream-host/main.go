// Stream-host is the process in a seat: it owns the display, the app, the
// encoder and the connection with the browser, and ends when the session does.
// The stream driver starts it; see seat for what it does.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/seat"
	"github.com/nearcast/nearcast/seat/app"
)

const usage = `stream-host runs one seat of Nearcast: a display, an app on it, and the stream
of its picture, sound and input to one person's browser.

  stream-host --spec DIR/spec.json   run the seat that the file describes
  stream-host fingerprint            say as JSON what this machine can do; with
                                     --x-server JSON, of that display server:
                                     {"server":"xorg","driver":"nvidia"}
  stream-host app-init               for its own use: the app's parent process

The Nomad driver "stream" starts it, and asks it by DIR/control.sock how it is.
Its log is DIR/stream-host.log; its last word is DIR/exit.json. SIGTERM ends the seat
as drained: the person is told, the app is stopped, nothing stays behind.

Exit status: 0 the seat ended well, 1 it failed (exit.json says how),
2 it could not begin.
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
	if err := flags.Parse(args); err == flag.ErrHelp {
		return 0
	} else if err != nil {
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	// Whoever started this may be dead, and its terminal or pipe with it.
	signal.Ignore(syscall.SIGHUP, syscall.SIGPIPE)

	switch {
	// "probe" is what drivers of earlier releases ask for.
	case flags.Arg(0) == "fingerprint", flags.Arg(0) == "probe":
		want, err := xServer(flags.Args()[1:])
		if err != nil {
			fmt.Fprintln(os.Stderr, "stream-host:", err)
			return 2
		}
		return fingerprint(ctx, want, os.Stdout)
	case *path == "" || flags.NArg() > 0:
		fmt.Fprintln(os.Stderr, "stream-host: give --spec DIR/spec.json, or fingerprint; --help says more")
		return 2
	}
	spec, err := seat.LoadSpec(*path)
	if err != nil {
		fmt.Fprintln(os.Stderr, "stream-host:", err)
		return 2
	}
	log, err := openLog(spec)
	if err != nil {
		fmt.Fprintln(os.Stderr, "stream-host:", err)
		return 2
	}
	if seat.Run(ctx, spec, newParts(spec, log), log).Failed() {
		return 1
	}
	return 0
}

// xServer reads the arguments of fingerprint.
func xServer(args []string) (wire.XServer, error) {
	flags := flag.NewFlagSet("stream-host fingerprint", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	text := flags.String("x-server", `{"server":"`+wire.ServerAuto+`"}`, "")
	err := flags.Parse(args)
	if err == nil && flags.NArg() > 0 {
		err = fmt.Errorf("%q is too much", flags.Args())
	}
	var x wire.XServer
	if err == nil {
		err = json.Unmarshal([]byte(*text), &x)
	}
	if err != nil {
		return x, fmt.Errorf("fingerprint: %w; it takes --x-server and JSON", err)
	}
	return x, nil
}

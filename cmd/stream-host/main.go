// Stream-host runs one seat: it owns the display, the app, the encoder and the
// connection with the browser, and ends when the session ends. Seat-keeper starts it
// as a user without privileges. See package seat for what it does.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"

	"github.com/nearcast/nearcast/internal/logs"
	"github.com/nearcast/nearcast/internal/trace"
	"github.com/nearcast/nearcast/internal/version"
	"github.com/nearcast/nearcast/seat"
	"github.com/nearcast/nearcast/seat/cell"
)

const usage = `stream-host runs one seat of Nearcast: an app on a display, and the stream of its
picture and sound to one person's browser, with their input back to the app.

  stream-host fingerprint            print as JSON what this node can do;
                                     --x-server JSON chooses the display server:
                                     {"server":"xorg","driver":"nvidia"}
  stream-host --version              print the version

  stream-host --keeper               internal: run the seat of the seat-keeper that
                                     started this process
  stream-host fetch                  internal: fetch the content of that seat

The Nomad driver "stream" starts seat-keeper, which starts stream-host. On SIGTERM the
seat ends as drained: it tells the person, stops the app and leaves nothing behind.

Exit status: 0 the seat ended well, 1 the seat failed (exit.json says how),
2 the seat could not start.
`

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	flags := flag.NewFlagSet("stream-host", flag.ContinueOnError)
	flags.Usage = func() { fmt.Fprint(flags.Output(), usage) }
	kept := flags.Bool("keeper", false, "")
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
	case flags.Arg(0) == cell.FetchArg && flags.NArg() == 1:
		return fetch(ctx)
	case flags.NArg() > 0:
		return cannotStart(fmt.Errorf("unexpected argument %q; see --help", flags.Arg(0)))
	case !*kept:
		return cannotStart(errors.New("a seat is started by seat-keeper --spec DIR/spec.json; see --help"))
	}
	p, control, err := inherit()
	if err != nil {
		return cannotStart(err)
	}
	parts, err := p.all()
	if err != nil {
		return cannotStart(err)
	}
	parts.Control = control
	// A seat that cannot trace serves all the same.
	if parts.Trace, err = trace.FromEnv("seat", p.log, "node", p.spec.Node, "app", p.spec.App); err != nil {
		p.log.Error("launches are not traced", "error", err)
	}
	if seat.Run(ctx, p.spec, parts, p.log).Failed() {
		return 1
	}
	return 0
}

// inherit takes what the keeper gave to this process.
func inherit() (*parts, net.Listener, error) {
	for _, fd := range []int{cell.KeeperFD, cell.ControlFD, cell.SpecFD} {
		syscall.CloseOnExec(fd)
	}
	conn, err := cell.NewConn(os.NewFile(cell.KeeperFD, "keeper"))
	if err != nil {
		return nil, nil, fmt.Errorf("%w: a seat is started by seat-keeper", err)
	}
	socket := os.NewFile(cell.ControlFD, "control")
	control, err := net.FileListener(socket)
	if err != nil {
		return nil, nil, fmt.Errorf("use the control socket: %w", err)
	}
	socket.Close()
	file := os.NewFile(cell.SpecFD, "spec")
	defer file.Close()
	spec, err := seat.ReadSpec(file)
	if err != nil {
		return nil, nil, err
	}
	log := logs.New(&boundedLog{file: os.Stderr, max: maxLog}, "seat")
	logs.Set(log, "seat", spec.Alloc)
	logs.Set(log, "app", spec.App)
	logs.Set(log, "node", spec.Node)
	return &parts{spec: spec, log: log, keeper: cell.NewKeeper(conn), celled: make(chan struct{})}, control, nil
}

func cannotStart(err error) int {
	fmt.Fprintln(os.Stderr, "stream-host:", err)
	return 2
}

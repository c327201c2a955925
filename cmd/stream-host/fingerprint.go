package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/nearcast/nearcast/internal/version"
	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/seat/capture"
	"github.com/nearcast/nearcast/seat/cell"
	"github.com/nearcast/nearcast/seat/display"
	"github.com/nearcast/nearcast/seat/display/xserver"
	"github.com/nearcast/nearcast/seat/sound"
)

// fingerprint prints what this node can do. It looks for no packages: it starts
// each display server and encoder and reports those that work.
func fingerprint(ctx context.Context, want wire.XServer, out io.Writer) int {
	ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	f := wire.Fingerprint{Version: version.String()}

	facts, err := capture.Fingerprint(ctx)
	if err != nil {
		f.Problems = append(f.Problems, fmt.Sprintf("GStreamer does not work: %v; install GStreamer with its good and ugly plugins", err))
	}
	f.GStreamer, f.Encoders = facts.GStreamer, facts.Encoders
	f.Problems = append(f.Problems, facts.Problems...)

	fingerprintDisplay(ctx, want, &f)
	// Without sound, apps that ask for no sound still run.
	f.Sound, _ = sound.Version(ctx)

	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(f); err != nil {
		fmt.Fprintln(os.Stderr, "stream-host:", err)
		return 1
	}
	return 0
}

// fingerprintDisplay reports the display server that seats would get, and starts it once.
func fingerprintDisplay(ctx context.Context, want wire.XServer, f *wire.Fingerprint) {
	got, err := xserver.Choose(want)
	if err != nil {
		f.Problems = append(f.Problems, err.Error())
		return
	}
	if err := xserver.Unused(want); err != nil {
		f.Notes = append(f.Notes, fmt.Sprintf("there is a GPU, but seats draw in software: %v; or set the plugin's display.server to %q", err, wire.ServerXvfb))
	}
	// A GPU may carry only one Xorg, and a running seat needs it more than the fingerprint.
	if got.Server != wire.ServerXorg || !xserver.XorgRuns() {
		if err := tryDisplay(ctx, got); err != nil {
			what := "install Xvfb (Debian: apt-get install xvfb)"
			switch got.Server {
			case wire.ServerXdummy:
				what = fmt.Sprintf("repair Xorg with driver dummy, or set the plugin's display.server to %q", wire.ServerXvfb)
			case wire.ServerXorg:
				what = fmt.Sprintf("repair Xorg with driver %s, or set the plugin's display.server to %q", got.Driver, wire.ServerXvfb)
			}
			f.Problems = append(f.Problems, fmt.Sprintf("the display server does not start: %v; %s", err, what))
			return
		}
	}
	f.Display = xserver.Version(ctx, got)
}

func tryDisplay(ctx context.Context, server wire.XServer) error {
	dir, err := os.MkdirTemp("", "nearcast-fingerprint-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	// Every driver accepts this size.
	d, err := display.Start(ctx, display.Config{Width: 640, Height: 480, Server: server, Runner: cell.Local{Dir: dir}, Dir: dir})
	if err != nil {
		return err
	}
	return d.Close()
}

// parseXServer reads the arguments of fingerprint.
func parseXServer(args []string) (wire.XServer, error) {
	flags := flag.NewFlagSet("stream-host fingerprint", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	text := flags.String("x-server", `{"server":"`+wire.ServerAuto+`"}`, "")
	err := flags.Parse(args)
	if err == nil && flags.NArg() > 0 {
		err = fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	var x wire.XServer
	if err == nil {
		err = json.Unmarshal([]byte(*text), &x)
	}
	if err != nil {
		return x, fmt.Errorf("fingerprint: %w; give --x-server and a JSON object", err)
	}
	return x, nil
}

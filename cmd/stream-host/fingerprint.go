package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/nearcast/nearcast/internal/version"
	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/seat/capture"
	"github.com/nearcast/nearcast/seat/display"
	"github.com/nearcast/nearcast/seat/sound"
)

// fingerprint prints what this node can do. It tries things instead of looking
// for packages: what encodes here encodes here.
func fingerprint(ctx context.Context, want wire.XServer, out io.Writer) int {
	ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	p := wire.Fingerprint{Version: version.String()}

	facts, err := capture.Fingerprint(ctx)
	if err != nil {
		p.Problems = append(p.Problems, fmt.Sprintf("GStreamer cannot be used: %v; install GStreamer with its good and ugly plugins", err))
	}
	p.GStreamer, p.Encoders = facts.GStreamer, facts.Encoders
	p.Problems = append(p.Problems, facts.Problems...)

	fingerprintDisplay(ctx, want, &p)
	// Without sound a seat still runs, as long as its app asks for none.
	p.Sound, _ = sound.Version(ctx)

	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(p); err != nil {
		fmt.Fprintln(os.Stderr, "stream-host:", err)
		return 1
	}
	return 0
}

// fingerprintDisplay says what seats would get, and tries it.
func fingerprintDisplay(ctx context.Context, want wire.XServer, p *wire.Fingerprint) {
	got, err := display.Choose(want)
	if err != nil {
		p.Problems = append(p.Problems, err.Error())
		return
	}
	if err := display.Unused(want); err != nil {
		p.Notes = append(p.Notes, fmt.Sprintf("there is a GPU, and seats draw in software: %v; or set the plugin's display.server to %q", err, wire.ServerXvfb))
	}
	// One GPU may carry one Xorg only, and a seat needs it more than a fingerprint.
	if got.Server != wire.ServerXorg || !display.XorgRuns() {
		if err := tryDisplay(ctx, got); err != nil {
			what := "install Xvfb (Debian: apt-get install xvfb)"
			if got.Server == wire.ServerXorg {
				what = fmt.Sprintf("mend Xorg with driver %s, or set the plugin's display.server to %q", got.Driver, wire.ServerXvfb)
			}
			p.Problems = append(p.Problems, fmt.Sprintf("no display server: %v; %s", err, what))
			return
		}
	}
	p.Display = display.Version(ctx, got)
}

func tryDisplay(ctx context.Context, server wire.XServer) error {
	dir, err := os.MkdirTemp("", "nearcast-fingerprint-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	// Of a size that every driver takes.
	d, err := display.Start(ctx, display.Config{Width: 640, Height: 480, Server: server, AuthDir: dir, Dir: dir})
	if err != nil {
		return err
	}
	return d.Close()
}

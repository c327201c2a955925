package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/nearcast/nearcast/driver/host/capture"
	"github.com/nearcast/nearcast/driver/host/display"
	"github.com/nearcast/nearcast/driver/host/sound"
	"github.com/nearcast/nearcast/internal/wire"
)

// probe prints what this machine can do. It tries things instead of looking
// for packages: what encodes here encodes here.
func probe(ctx context.Context, out io.Writer) int {
	ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	var p wire.HostProbe

	facts, err := capture.Probe(ctx)
	if err != nil {
		p.Problems = append(p.Problems, fmt.Sprintf("GStreamer cannot be used: %v; install GStreamer with its good and ugly plugins", err))
	}
	p.GStreamer, p.Encoders = facts.GStreamer, facts.Encoders
	p.Problems = append(p.Problems, facts.Problems...)

	if p.Display, err = tryDisplay(ctx); err != nil {
		p.Problems = append(p.Problems, fmt.Sprintf("no display server: %v; install Xvfb (Debian: apt-get install xvfb)", err))
	}
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

func tryDisplay(ctx context.Context) (string, error) {
	dir, err := os.MkdirTemp("", "nearcast-probe-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	d, err := display.Start(ctx, display.Config{Width: 64, Height: 64, AuthDir: dir})
	if err != nil {
		return "", err
	}
	return strings.TrimSpace("Xvfb " + xvfbVersion(ctx)), d.Close()
}

// xvfbVersion is what Xvfb says of itself: "X.Org X Server 1.21.1.7" and more.
func xvfbVersion(ctx context.Context) string {
	out, _ := exec.CommandContext(ctx, "Xvfb", "-version").CombinedOutput()
	for line := range strings.Lines(string(out)) {
		if _, version, ok := strings.Cut(line, "X Server "); ok {
			return strings.TrimSpace(version)
		}
	}
	return ""
}

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"time"

	"github.com/nearcast/nearcast/dev"
	"github.com/nearcast/nearcast/internal/testkit/browser"
	"github.com/nearcast/nearcast/internal/wire"
)

// parts are the steps of a first frame, in the order in which they end. Those of the seat are from
// its log: page and seat have the same clock here.
var parts = []string{
	"launched", "signalOpen", "granted", "answer", // the router's answer, the brain's socket, the seat's messages
	"seatClaimed",   // the seat knows that Play was pressed
	"connected",     // the page's connection
	"seatConnected", // the same, as the seat sees it
	"captured",      // the first picture for this session was on the display
	"encoded",
	"received",   // its last packet, where the page is told of this picture (dropLater)
	"decoding",   // how long the decoder took; no time after Play
	"presented",  // it is due on the screen
	"drawn",      // the page is told so
	"firstFrame", // the page counts it: drawn, or sooner, where the video element says that it has data
}

// entry is a line in the log of a stream host.
type entry struct {
	Time     time.Time `json:"time"`
	Message  string    `json:"msg"`
	Session  string    `json:"session"`
	State    string    `json:"state"`
	Phase    string    `json:"phase"`
	Captured time.Time `json:"captured"`
}

// seatLog is the log of the seat that the page has.
func (b *bench) seatLog(ctx context.Context, page *browser.Page) ([]entry, error) {
	var seat string
	if err := page.Eval(ctx, "nearcast.seat", &seat); err != nil {
		return nil, err
	}
	if len(seat) < 8 {
		return nil, fmt.Errorf("the page has no seat: %q", seat)
	}
	pattern := filepath.Join(dev.RunDir(b.site.Dir), seat[:8]+"-*", wire.LogFile)
	files, err := filepath.Glob(pattern)
	if err != nil {
		return nil, fmt.Errorf("find the log of seat %s: %w", seat, err)
	}
	if len(files) != 1 {
		return nil, fmt.Errorf("find the log of seat %s: %d files match %s", seat, len(files), pattern)
	}
	text, err := os.ReadFile(files[0])
	if err != nil {
		return nil, err
	}
	var log []entry
	for line := range bytes.Lines(text) {
		var e entry
		if json.Unmarshal(line, &e) == nil {
			log = append(log, e)
		}
	}
	return log, nil
}

// stepsOf are when the steps to the first frame ended that a page shows, in ms after Play.
func (b *bench) stepsOf(ctx context.Context, page *browser.Page) (map[string]float64, error) {
	var seen struct {
		Marks    map[string]float64 `json:"marks"`
		PlayedAt float64            `json:"playedAt"` // in ms since 1970
	}
	if err := page.Eval(ctx, "({marks: nearcast.marks, playedAt: nearcast.playedAt})", &seen); err != nil {
		return nil, err
	}
	log, err := b.seatLog(ctx, page)
	if err != nil {
		return nil, err
	}
	steps := maps.Clone(seen.Marks)
	dropLater(steps)
	after := func(t time.Time) float64 { return float64(t.UnixMicro())/1000 - seen.PlayedAt }
	for _, e := range log {
		switch {
		case e.Message == "seat state" && e.State == string(wire.SeatClaimed):
			steps["seatClaimed"] = after(e.Time)
		case e.Message == "browser connected":
			steps["seatConnected"] = after(e.Time)
		case e.Message == "first picture":
			steps["captured"], steps["encoded"] = after(e.Captured), after(e.Time)
		}
	}
	return steps, nil
}

// dropLater drops what the page was told of a later picture than the one that it counts: it may
// count the first before that is drawn, and then hears of the one that is drawn.
func dropLater(steps map[string]float64) {
	if steps["received"] > steps["firstFrame"] {
		for _, of := range []string{"received", "decoding", "presented"} {
			delete(steps, of)
		}
	}
}

// reportParts prints a line for each step that was measured.
func (b *bench) reportParts(measure string, order []string, steps map[string][]float64, labels map[string]any) error {
	for _, part := range order {
		with := map[string]any{"part": part}
		maps.Copy(with, labels)
		if err := b.report.Line(measure, "ms", steps[part], with); err != nil {
			return err
		}
	}
	return nil
}

package main

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/internal/testkit/browser"
)

// coldParts are the steps of a seat's start, in the order in which they end; content, and cell with
// display, go on at the same time. The parts of every
// first frame come after them, but for the first two.
var coldParts = []string{
	"dispatched", // Nomad's servers have the brain's job of the seat
	"allocated",  // they have chosen a node
	"nodeKnows",  // the node's Nomad knows
	"setUp",      // and begins with the task's directory. Its log collector comes next, then the driver
	"keeper",     // the driver has started the keeper's process
	"streamHost", // the keeper has started the stream host's process
	"running",    // the stream host runs, and fetches content or asks for its cell
	"cell",       // it has its cell, with a display server that starts
	"display",
	"content", // it has the content
	"app",     // capture and input are open: the app is started now
	"window",  // it shows a window
	"painted", // it has drawn there, or has stopped to draw
	"ready",   // the encoder has made a picture: the seat is idle
}

// startedBy are the steps that a seat's log tells.
var startedBy = map[string]string{
	"content fetched": "content", "cell made": "cell", "display started": "display", "starting the app": "app",
	"the app is presentable": "window", "the window counts as drawn": "painted", "seat ready": "ready",
}

// stepsOfStart adds when the steps of the start of the page's seat ended, in ms after Play. Nomad, the
// seat and the page have the same clock here.
func (b *bench) stepsOfStart(ctx context.Context, page *browser.Page, steps map[string]float64) error {
	var seen struct {
		Seat     string  `json:"seat"`
		PlayedAt float64 `json:"playedAt"`
	}
	if err := page.Eval(ctx, "({seat: nearcast.seat, playedAt: nearcast.playedAt})", &seen); err != nil {
		return err
	}
	after := func(t time.Time) float64 { return float64(t.UnixMicro())/1000 - seen.PlayedAt }
	log, err := b.seatLog(ctx, page)
	if err != nil {
		return err
	}
	for _, e := range log {
		if step := startedBy[e.Message]; step != "" {
			steps[step] = after(e.Time)
		}
		if _, has := steps["running"]; !has && e.Phase != "" {
			steps["running"] = after(e.Time)
		}
	}

	alloc, _, err := b.site.Nomad().Allocations().Info(seen.Seat, nil)
	if err != nil {
		return fmt.Errorf("ask Nomad for seat %s: %w", seen.Seat, err)
	}
	steps["allocated"] = after(time.Unix(0, alloc.CreateTime))
	if alloc.Job != nil && alloc.Job.SubmitTime != nil {
		steps["dispatched"] = after(time.Unix(0, *alloc.Job.SubmitTime))
	}
	for _, task := range alloc.TaskStates {
		for _, e := range task.Events {
			switch e.Type {
			case "Received":
				steps["nodeKnows"] = after(time.Unix(0, e.Time))
			case "Task Setup":
				steps["setUp"] = after(time.Unix(0, e.Time))
			}
		}
	}
	host, err := streamHostOf(seen.Seat)
	if err != nil {
		return err
	}
	stat, err := host.Stat()
	if err != nil {
		return fmt.Errorf("find the keeper of seat %s: %w", seen.Seat, err)
	}
	for step, pid := range map[string]int{"streamHost": host.PID, "keeper": stat.PPID} {
		began, err := began(pid)
		if err != nil {
			return fmt.Errorf("ask when the %s began: %w", step, err)
		}
		steps[step] = after(began)
	}
	return nil
}

// began is when a process was started, to 10 ms.
func began(pid int) (time.Time, error) {
	const ticks = 100 // a second
	stat, err := statOf(pid)
	if err != nil {
		return time.Time{}, err
	}
	var up unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &up); err != nil {
		return time.Time{}, err
	}
	return time.Now().Add(time.Duration(stat.Starttime)*time.Second/ticks - time.Duration(up.Nano())), nil
}

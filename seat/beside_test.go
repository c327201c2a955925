package seat

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

// withContent is a rig whose content comes when the gate opens.
func withContent(t *testing.T, change func(*rig)) (r *rig, gate chan struct{}) {
	gate = make(chan struct{})
	return newRigWith(t, func(r *rig) {
		r.spec.Content = []wire.Content{{Source: "s3://models/m", Destination: "m"}}
		r.contentGate = gate
		change(r)
	}), gate
}

// The display starts while content is fetched, the capture rests until it is there, and the
// app starts after both.
func TestDisplayStartsBesideContent(t *testing.T) {
	r, gate := withContent(t, func(*rig) {})
	r.wait("a capture that rests", func() bool { return r.video.count("pause") == 1 })
	if now := r.seats.last(); now.State != wire.SeatStarting || now.Progress.Phase != wire.PhaseContent {
		t.Errorf("the person is told %+v", now)
	}
	if r.app.count("started") != 0 {
		t.Error("the app was started before its files were there")
	}
	close(gate)
	r.idle()
	if r.app.count("started") != 1 || r.video.count("resume") != 1 || r.video.count("pause") != 2 {
		t.Errorf("the app was started %d times, the capture resumed %d and paused %d", r.app.count("started"), r.video.count("resume"), r.video.count("pause"))
	}
}

// A person is told of the display where that takes longer than the content.
func TestContentIsThereBeforeTheDisplay(t *testing.T) {
	display := make(chan struct{})
	r, gate := withContent(t, func(r *rig) { r.displayGate = display })
	r.wait("a display that starts", func() bool { return r.display.count("start") == 1 })
	close(gate)
	r.wait("the display's phase", func() bool { return r.seats.last().Progress.Phase == wire.PhaseDisplay })
	if r.app.count("started") != 0 {
		t.Error("the app was started without a display")
	}
	close(display)
	r.idle()
}

// The cell may take long, with an Xorg in it. No byte is asked for before it is there, so its time is
// not the content's.
func TestContentTimeoutBeginsAfterTheCell(t *testing.T) {
	cell := make(chan struct{})
	r, gate := withContent(t, func(r *rig) { r.cellGate, r.spec.ContentTimeoutS = cell, 60 })
	close(gate)
	r.wait("a capture that rests", func() bool { return r.video.count("pause") == 1 })
	if strings.Contains(r.log.String(), "fetching content") {
		t.Error("content is fetched without a cell")
	}
	made := time.Now()
	close(cell)
	r.idle()
	if limit := r.contentLimit.Load(); limit == nil || limit.Before(made.Add(time.Minute)) {
		t.Errorf("the content had until %v, and the cell was made at %v", limit, made)
	}
}

// Content that fails ends the display that is there, and the seat for the content's reason.
func TestContentFailsBesideTheDisplay(t *testing.T) {
	missing := wire.End{Reason: wire.ReasonError, Code: wire.CodeContentMissing, Detail: "s3://models/m is not there"}
	for name, display := range map[string]chan struct{}{"display is there": nil, "display starts": make(chan struct{})} {
		t.Run(name, func(t *testing.T) {
			r, gate := withContent(t, func(r *rig) { r.displayGate, r.failure["content"] = display, missing })
			started, closed := func() bool { return r.video.count("pause") == 1 }, 1
			if display != nil {
				started, closed = func() bool { return r.display.count("start") == 1 }, 0
			}
			r.wait(name, started)
			close(gate)
			if end := r.waitEnd(); end != missing {
				t.Errorf("ended by %v, want %v", end, missing)
			}
			if r.display.count("close") != closed || r.video.count("close") != closed || r.app.count("started") != 0 {
				t.Errorf("display and capture were closed %d and %d times, want %d; the app was started %d times", r.display.count("close"), r.video.count("close"), closed, r.app.count("started"))
			}
		})
	}
}

// A display that fails, at once or later, ends the fetch, which no content would end.
func TestDisplayFailsBesideContent(t *testing.T) {
	r, _ := withContent(t, func(r *rig) { r.failure["display"] = errors.New("no Xvfb") })
	if end := r.waitEnd(); end.Code != wire.CodeDisplay {
		t.Errorf("ended by %v", end)
	}
	r, _ = withContent(t, func(*rig) {})
	r.wait("a capture that rests", func() bool { return r.video.count("pause") == 1 })
	close(r.display.done)
	if end := r.waitEnd(); end.Code != wire.CodeDisplay || end.Detail != "server died" {
		t.Errorf("ended by %v", end)
	}
}

// The sound server fails with the cell, which the display's failure ends: the seat says why the display failed.
func TestDisplayFailsBesideSound(t *testing.T) {
	gate := make(chan struct{})
	r := newRigWith(t, func(r *rig) {
		r.spec.Display.Audio, r.displayGate = true, gate
		r.failure["display"], r.failure["sound"] = errors.New("no Xvfb"), errors.New("the cell has ended")
	})
	r.wait("the sound server's start", func() bool { return r.display.count("sound") == 1 })
	close(gate)
	if end := r.waitEnd(); end.Code != wire.CodeDisplay || end.Detail != "no Xvfb" {
		t.Errorf("ended by %v", end)
	}
}

// A volume in the task's directory is mounted among the content, so the cell comes after that.
func TestDisplayStartsAfterContent(t *testing.T) {
	r, gate := withContent(t, func(r *rig) { r.spec.Mounts = []wire.Mount{{Node: "/srv", Task: r.spec.TaskDir + "/saves"}} })
	r.wait("content", func() bool { return r.seats.last().Progress.Phase == wire.PhaseContent })
	close(gate)
	r.idle()
	if r.display.count("content after 0 displays") != 1 {
		t.Error("the display started before the content was there")
	}
}

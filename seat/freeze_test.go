package seat

import (
	"testing"
	"time"
)

func TestFreezesWhenQuiet(t *testing.T) {
	for name, busy := range map[string]func(r *rig, on bool){
		"paints":   func(r *rig, on bool) { r.video.stirs.Store(on) },
		"computes": func(r *rig, on bool) { r.app.grows.Store(on) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRigWith(t, func(r *rig) {
				r.freeze = FreezePolicy{Quiet: 40 * time.Millisecond, Latest: time.Hour}
				busy(r, true)
			})
			checks := func() int { return r.video.count("stirred") }
			r.wait("some checks", func() bool { return checks() > 20 })
			if r.app.count("freeze") != 0 {
				t.Fatal("frozen while it is busy")
			}
			busy(r, false)
			r.wait("frozen", func() bool { return r.app.count("freeze") == 1 })
		})
	}
}

func TestFreezesAfterLatest(t *testing.T) {
	r := newRigWith(t, func(r *rig) {
		r.freeze = FreezePolicy{Quiet: 40 * time.Millisecond, Latest: 200 * time.Millisecond}
		r.video.stirs.Store(true)
	})
	r.wait("frozen", func() bool { return r.app.count("freeze") == 1 })
}

package seat

import (
	"fmt"
	"time"
)

// busyShare of a processor is what a quiet app may use: windows blink a cursor,
// and runtimes do housekeeping.
const busyShare = 0.05

// freezeLater freezes the app when it is quiet, if the seat is still idle then.
// The caller holds s.mu.
func (s *stream) freezeLater() {
	s.watch++
	if s.h.spec.StartOnClaim {
		return // while the seat is idle there is no app
	}
	if s.h.parts.Freeze.Latest == 0 {
		s.freeze()
		return
	}
	if s.frozen || !s.h.spec.FreezeIdle {
		return
	}
	watch := s.watch
	s.h.tasks.start(func() { s.freezeWhenQuiet(watch) })
}

func (s *stream) freezeWhenQuiet(watch int) {
	policy := s.h.parts.Freeze
	every := min(max(policy.Quiet/4, 10*time.Millisecond), 500*time.Millisecond)
	tick := time.NewTicker(every)
	defer tick.Stop()
	begin := time.Now()
	quietSince, checked, used := begin, begin, s.h.app.CPU()
	s.video.Stirred()
	for {
		select {
		case <-s.h.state.ended:
			return
		case <-tick.C:
		}
		now, cpu := time.Now(), s.h.app.CPU()
		// Less than before means that a process of the app ended: not quiet.
		busy := cpu < used || float64(cpu-used) > busyShare*float64(now.Sub(checked))
		if s.video.Stirred() || busy {
			quietSince = now
		}
		checked, used = now, cpu
		if now.Sub(quietSince) < policy.Quiet && now.Sub(begin) < policy.Latest {
			continue
		}
		s.mu.Lock()
		// If the seat is claimed now, follow waits for the lock and thaws the app.
		state := s.h.state.snapshot().State
		if s.watch == watch && state.Free() {
			s.freeze()
			s.h.log.Info("app frozen", "after", now.Sub(begin).Round(time.Millisecond), "quiet", now.Sub(quietSince) >= policy.Quiet)
		}
		s.mu.Unlock()
		return
	}
}

// freeze only saves processor time. If it fails, the seat works as well and
// costs more. The caller holds s.mu.
func (s *stream) freeze() {
	if s.frozen || !s.h.spec.FreezeIdle {
		return
	}
	if err := s.h.app.Freeze(); err != nil {
		s.h.log.Warn("freeze the idle app", "error", err)
		_ = s.h.app.Thaw() // it may be frozen in part
		return
	}
	s.frozen = true
}

// thaw lets a frozen app run. The caller holds s.mu.
func (s *stream) thaw() error {
	if !s.frozen {
		return nil
	}
	if err := s.h.app.Thaw(); err != nil {
		return fmt.Errorf("thaw the app: %w", err)
	}
	s.frozen = false
	return nil
}

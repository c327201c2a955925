package seat

import "time"

// busyShare of a processor is what an app may use and be at rest: windows blink
// a cursor, and runtimes look around.
const busyShare = 0.05

// freezeLater freezes the app when it has come to rest, if the seat is still
// idle then. The caller holds s.mu.
func (s *stream) freezeLater() {
	s.watch++
	if s.h.parts.Freeze.Latest == 0 {
		s.freeze()
		return
	}
	if s.frozen || !s.h.spec.FreezeIdle {
		return
	}
	watch := s.watch
	s.h.run(func() { s.freezeAtRest(watch) })
}

func (s *stream) freezeAtRest(watch int) {
	policy := s.h.parts.Freeze
	every := min(max(policy.Quiet/4, 10*time.Millisecond), 500*time.Millisecond)
	tick := time.NewTicker(every)
	defer tick.Stop()
	begun := time.Now()
	quiet, looked, used := begun, begun, s.h.app.CPU()
	s.video.Stirred()
	for {
		select {
		case <-s.h.seat.ended:
			return
		case <-tick.C:
		}
		now, cpu := time.Now(), s.h.app.CPU()
		// Less than before: somebody of them ended, so something happened.
		busy := cpu < used || float64(cpu-used) > busyShare*float64(now.Sub(looked))
		if s.video.Stirred() || busy {
			quiet = now
		}
		looked, used = now, cpu
		if now.Sub(quiet) < policy.Quiet && now.Sub(begun) < policy.Latest {
			continue
		}
		s.mu.Lock()
		// Claimed meanwhile: follow, waiting for the lock, thaws if we were first.
		state := s.h.seat.view().State
		if s.watch == watch && state.Free() {
			s.freeze()
			s.h.log.Info("app is frozen", "after", now.Sub(begun).Round(time.Millisecond), "at_rest", now.Sub(quiet) >= policy.Quiet)
		}
		s.mu.Unlock()
		return
	}
}

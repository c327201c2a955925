package capture

import (
	"context"
	"errors"
	"time"
)

const (
	// settle is time for an app to finish a picture that it draws in several steps.
	settle = time.Millisecond
	// After the last change, refinements more frames follow, refineEvery frames apart;
	// and at the full rate as long as the encoder makes the picture better, for sharpenFor
	// seconds at most: then text is sharp. Then one frame each heartbeat.
	refinements = 6
	refineEvery = 3
	sharpenFor  = 3
	heartbeat   = time.Second
	// patience is how long the loop waits for a picture to leave the encoder. Some
	// encoders drop a picture to keep their rate.
	patience = 100 * time.Millisecond
)

// loop captures until ctx ends or something fails.
func (p *Pipeline) loop(ctx context.Context) error {
	interval := time.Second / time.Duration(p.cfg.FPS)
	timer := time.NewTimer(0)
	defer timer.Stop()
	var (
		next    time.Time // when a changed picture may be captured
		due     time.Time // when the next frame is due; zero is after the next change
		changed bool      // since the last frame
		since   time.Time // when it changed
		still   int       // frames since the last change
		pending bool      // a picture is in the encoder
		blind   bool      // the screen has no picture until it changes
		rhythm  rhythm
	)
	for {
		paused, key, listen := p.take()
		now := time.Now()
		switch {
		case paused:
			due = time.Time{}
			if listen {
				if err := p.screen.listen(); err != nil {
					return err
				}
			}
		case blind:
			due = time.Time{}
		case key: // at once, at any rate
			due = now
		case changed:
			if due = next; due.Before(now) {
				due = now
			}
		case p.lack.more() && still > 0 && still < sharpenFor*p.cfg.FPS:
			due = next
		case still < refinements:
			due = next.Add(refineEvery * interval)
		default:
			due = next.Add(heartbeat)
		}

		if !due.IsZero() && !due.After(now) {
			if pending {
				if err := p.drain(ctx, timer); err != nil {
					return err
				}
			}
			if !changed {
				since = time.Time{}
			}
			moves := changed && (rhythm.moves(now) || now.Sub(p.large) < heartbeat)
			if err := p.frame(ctx, key, moves, since); errors.Is(err, errNoPicture) {
				blind, pending, changed = true, false, false
				continue
			} else if err != nil {
				return err
			}
			if changed || key {
				still = 0
			} else {
				still++
			}
			if changed {
				p.keepBitrate(rhythm.picture(now, interval))
			} else {
				p.keepBitrate(1)
			}
			// A change that comes a little early does not wait for the next slot:
			// apps do not draw by our clock. The mean rate stays the same.
			pending, changed = true, false
			p.working.look(now)
			if next = next.Add(interval); next.Before(now.Add(interval / 2)) {
				next = now.Add(interval / 2)
			}
			continue
		}

		var tick <-chan time.Time
		if !due.IsZero() {
			timer.Reset(due.Sub(now))
			tick = timer.C
		}
		select {
		case <-ctx.Done():
			return nil
		case <-p.video.failed:
			return p.video.failure()
		case <-p.wake:
		case <-p.screen.changed:
			if err := p.screen.x.failure(); err != nil {
				return err
			}
			p.mu.Lock()
			p.stirred = true
			p.mu.Unlock()
			blind = false
			if !changed {
				changed, since = true, time.Now()
				if soon := since.Add(settle); next.Before(soon) {
					next = soon
				}
			}
		case <-tick:
		case <-p.out:
			pending = false
		}
	}
}

// take returns what was requested, and applies a new bitrate.
func (p *Pipeline) take() (paused, key, listen bool) {
	p.mu.Lock()
	paused, key, listen = p.paused, p.key, p.listen
	bps, came := p.bitrate, p.came
	p.bitrate, p.listen, p.came = 0, false, encoded{}
	p.mu.Unlock()
	if came.took > 0 {
		p.count(came)
	}
	if bps != 0 {
		p.bps = bps
		p.adjust(0)
	}
	return paused, key, listen
}

// count learns from a frame that came out of the encoder.
func (p *Pipeline) count(came encoded) {
	share := float64(p.bps) * p.stretch / float64(p.cfg.FPS) / 8 // bytes
	p.lack.picture(float64(came.size), share)
	p.usage.picture(float64(came.size), share)
	p.adjust(1.03)
	if came.changed {
		now, full := time.Now(), float64(came.size) > share/2
		if full {
			p.large = now
		}
		p.working.picture(now, came.took, full, came.with)
	}
}

// keepBitrate gives each picture more bits where there are fewer of them.
func (p *Pipeline) keepBitrate(stretch float64) {
	if stretch > 1.15*p.stretch || stretch < p.stretch/1.15 {
		p.stretch = stretch
		p.adjust(0)
	}
}

// target is what the encoder has to be told so that it uses the bitrate.
func (p *Pipeline) target() float64 { return float64(p.bps) * p.stretch * p.usage.factor }

// adjust tells the encoder its target, if it has changed by more than a factor.
func (p *Pipeline) adjust(by float64) {
	want := p.target()
	if want < by*p.asked && want > p.asked/by {
		return
	}
	p.asked = want
	if err := p.video.setBitrate(int(want)); err != nil {
		p.log.Warn("encoder refused a new bitrate", "encoder", p.Encoder(), "bps", int(want), "error", err)
	}
}

// drain waits until the previous picture has left the encoder, because its memory is
// used for the next one. It waits for patience at most: an encoder may drop one.
func (p *Pipeline) drain(ctx context.Context, timer *time.Timer) error {
	timer.Reset(patience)
	select {
	case <-p.out:
		return nil
	case <-timer.C:
		return nil
	case <-p.video.failed:
		return p.video.failure()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// frame captures the picture and gives it to the encoder. since is when it changed; zero where it
// did not.
func (p *Pipeline) frame(ctx context.Context, key, moves bool, since time.Time) error {
	picture, err := p.picture(ctx, key, moves)
	if err != nil {
		return err
	}
	p.plain.Store(p.screen.plain(picture))
	now := time.Now()
	p.tally.captured(since, now)
	if key { // a thin line pays for it at once
		p.usage = newUsage()
		p.adjust(1.03)
	}
	p.mu.Lock()
	p.captured, p.changed, p.with = now, !since.IsZero(), preset(p.working.now.Load())
	if key {
		p.key = false
	}
	p.mu.Unlock()
	if err := p.video.push(picture, p.screen.stride, now.Sub(p.start), key); err != nil {
		return err
	}
	p.giveStill(picture, now)
	return nil
}

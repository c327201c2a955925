package gamepad

import (
	"encoding/binary"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/seat/cell/evdev"
)

// effect is one that a program has made: the kernel's struct ff_effect, of which only
// rumble is known here.
type effect struct {
	strong, weak uint16
	length       time.Duration
	until        time.Time // while it plays
}

const (
	maxRumble    = time.Minute
	rumblePause  = 10 * time.Millisecond // between what is told
	effectLength = 1 << 16 * time.Millisecond
)

// key is an effect of a program. Others cannot play it.
type key struct {
	client *client
	id     int16
}

// rumbler plays the effects of all gamepads: it tells the sum of those that play, at
// each change.
type rumbler struct {
	tell func(wire.Rumble)
	wake chan struct{}
	done chan struct{}

	mu      sync.Mutex
	effects map[key]*effect
}

func (r *rumbler) init(tell func(wire.Rumble)) {
	r.tell, r.wake, r.done, r.effects = tell, make(chan struct{}, 1), make(chan struct{}), map[key]*effect{}
}

func (r *rumbler) close() { close(r.done) }

func (r *rumbler) changed() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// set makes or changes an effect, and returns it with its id.
func (r *rumbler) set(c *client, data []byte) (result int, out []byte) {
	order := binary.NativeEndian
	if len(data) != evdev.EffectSize || order.Uint16(data) != evdev.Rumble {
		return -int(unix.EINVAL), nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	k := key{c, int16(order.Uint16(data[2:]))}
	e := r.effects[k]
	switch {
	case e == nil && c.kernel && k.id >= 0 && k.id < evdev.MaxEffects: // the kernel has given the id
		e = &effect{}
		r.effects[k] = e
	case e == nil && k.id != -1:
		return -int(unix.EINVAL), nil
	case e == nil:
		for k.id = 0; r.effects[k] != nil; k.id++ {
			if k.id == evdev.MaxEffects-1 {
				return -int(unix.ENOSPC), nil
			}
		}
		e = &effect{}
		r.effects[k] = e
	}
	e.strong, e.weak = order.Uint16(data[16:]), order.Uint16(data[18:])
	if e.length = time.Duration(order.Uint16(data[10:])) * time.Millisecond; e.length == 0 {
		e.length = effectLength // until it is stopped
	}
	out = append(out, data...)
	order.PutUint16(out[2:], uint16(k.id))
	r.changed()
	return 0, out
}

// drop removes an effect.
func (r *rumbler) drop(c *client, id int32) (result int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := key{c, int16(id)}
	if r.effects[k] == nil || int32(k.id) != id {
		return -int(unix.EINVAL)
	}
	delete(r.effects, k)
	r.changed()
	return 0
}

// play plays an effect so many times, or stops it.
func (r *rumbler) play(c *client, id uint16, times int32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.effects[key{c, int16(id)}]
	if e == nil {
		return
	}
	e.until = time.Time{}
	if times > 0 {
		e.until = time.Now().Add(min(maxRumble, time.Duration(min(times, 1000))*e.length))
	}
	r.changed()
}

// forget removes the effects of a program.
func (r *rumbler) forget(c *client) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id := range int16(evdev.MaxEffects) {
		delete(r.effects, key{c, id})
	}
	r.changed()
}

// sum is how each gamepad shakes now, and when the next effect ends.
func (r *rumbler) sum(now time.Time) (all [wire.MaxPads]wire.Rumble, next time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	next = maxRumble
	for i := range all {
		all[i].Type, all[i].Index = "rumble", i
	}
	for k, e := range r.effects {
		left := e.until.Sub(now)
		if left <= 0 {
			continue
		}
		next = min(next, left)
		s := &all[k.client.index]
		s.Strong, s.Weak = min(1<<16-1, s.Strong+int(e.strong)), min(1<<16-1, s.Weak+int(e.weak))
		s.MS = max(s.MS, int(left.Milliseconds())+1)
	}
	for i, s := range all {
		if s.Strong == 0 && s.Weak == 0 {
			all[i].MS = 0
		}
	}
	return all, next
}

func (r *rumbler) run() {
	var told [wire.MaxPads]wire.Rumble
	var end [wire.MaxPads]time.Time // of what was told
	timer := time.NewTimer(maxRumble)
	defer timer.Stop()
	for {
		now := time.Now()
		all, next := r.sum(now)
		for i, s := range all {
			ends := now.Add(time.Duration(s.MS) * time.Millisecond)
			same := s.Strong == told[i].Strong && s.Weak == told[i].Weak
			// The end of what plays moves with the clock's steps, by a millisecond.
			if same && (s.MS == 0 || ends.Sub(end[i]).Abs() < 5*time.Millisecond) {
				continue
			}
			told[i], end[i] = s, ends
			r.tell(s)
		}
		timer.Reset(rumblePause)
		select {
		case <-r.done:
			return
		case <-timer.C:
		}
		timer.Reset(max(next-rumblePause, time.Millisecond))
		select {
		case <-r.done:
			return
		case <-r.wake:
		case <-timer.C:
		}
	}
}

// Package gamepad gives the person's gamepads to the app of a seat.
//
//	p, err := gamepad.Open(gamepad.Config{Listen: …, Show: …, Rumble: …})
//	… // the app starts, with gamepad.Library in LD_PRELOAD
//	p.Connect(1<<0, true)
//	p.Apply(wire.Pad{Index: 0, Buttons: wire.PadSouth}, 1)
//	…
//	p.Close()
//
// Programs read gamepads from the kernel's devices /dev/input/eventN, older ones from
// /dev/input/jsN (joystick.go). Only root can make such a device, where the node has the module uinput, and then it belongs to the whole
// node. So a cell has sockets in their place, which this package serves, and the library
// in preload/gamepad.c makes a socket look like a device to the programs that load it.
// What the device is and does is said here alone: the library passes on each ioctl
// (evdev.Request), and events are read from the socket as from the device.
//
// Where the operator wants devices of uinput (seat/cell/uinput), the seat's keeper has
// them, and is to this package like a program that has each gamepad open.
//
// Each gamepad is an Xbox 360 pad, whatever the person holds: it has the same controls
// as the standard gamepad of browsers, and programs know it.
//
// The app is hostile. What it sends is bounded, and the answers hold nothing that it
// does not know. A program that does not read its events loses those in between, never
// the last state.
package gamepad

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"

	"github.com/nearcast/nearcast/internal/wire"
)

// ErrInput is wrapped by errors about a message that makes no sense.
var ErrInput = errors.New("bad gamepad input")

// firstEvent is the number of the first gamepad's device. A job may bring devices of the
// node, which have smaller numbers.
const firstEvent = 100

// Socket is the name of a gamepad's socket. The library knows it.
func Socket(index int) string { return fmt.Sprintf("nearcast-gamepad%d", index) }

// Device is where programs look for a gamepad.
func Device(index int) string { return fmt.Sprintf("/dev/input/event%d", firstEvent+index) }

// Environ adds to an app's environment what lets it see gamepads. The library is a path
// in its cell, or empty for devices of the kernel. What the job has set stays.
func Environ(env map[string]string, library string) {
	if library != "" {
		if others := env["LD_PRELOAD"]; others != "" {
			library += ":" + others
		}
		env["LD_PRELOAD"] = library
	}
	// Else SDL asks udev, which knows the node's devices and none of the seat.
	if _, set := env["SDL_JOYSTICK_DISABLE_UDEV"]; !set {
		env["SDL_JOYSTICK_DISABLE_UDEV"] = "1"
	}
}

// Config says how the app is reached.
type Config struct {
	// Kernel are the connections with devices of uinput, one for each gamepad. Without
	// them Listen makes the socket of this name, where the app can connect to it.
	Kernel []*net.UnixConn
	Listen func(socket string) (*net.UnixListener, error)
	// Show makes or removes the devices of a gamepad. The app can open them from then on.
	Show func(index int, there bool) error
	// Rumble tells how a gamepad shakes from now on. It must not block.
	Rumble func(wire.Rumble)
	Log    *slog.Logger // nil is slog.Default()
}

// Pads are the gamepads of a seat. Its methods are safe for concurrent use.
type Pads struct {
	cfg       Config
	listeners []*net.UnixListener
	running   sync.WaitGroup
	rumbler   rumbler
	changing  sync.Mutex // held by Connect

	mu     sync.Mutex
	closed bool
	pads   [wire.MaxPads]pad
}

// pad is one gamepad.
type pad struct {
	connected bool
	state     wire.Pad
	last      uint32 // number of the state
	clients   map[*client]struct{}
}

// Open serves the gamepads. None is connected.
func Open(cfg Config) (*Pads, error) {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	p := &Pads{cfg: cfg}
	p.rumbler.init(cfg.Rumble)
	for i := range p.pads {
		p.pads[i] = pad{state: wire.Pad{Index: i}, clients: map[*client]struct{}{}}
		if i < len(cfg.Kernel) {
			c := newClient(p, i, cfg.Kernel[i], p.pads[i].state)
			c.kernel = true
			p.serve(c)
			continue
		}
		for joystick, socket := range map[bool]string{false: Socket(i), true: JoystickSocket(i)} {
			l, err := cfg.Listen(socket)
			if err != nil {
				return nil, errors.Join(fmt.Errorf("listen for readers of a gamepad: %w", err), p.Close())
			}
			p.listeners = append(p.listeners, l)
			p.running.Go(func() { p.accept(i, l, joystick) })
		}
	}
	p.running.Go(p.rumbler.run)
	return p, nil
}

// Connect says which gamepads the person has, a bit each. anew says that their page has
// just begun: nothing is held, and states are numbered from 1 again.
func (p *Pads) Connect(connected int, anew bool) error {
	if connected < 0 || connected >= 1<<wire.MaxPads {
		return fmt.Errorf("%w: gamepads %#x, there can be %d", ErrInput, connected, wire.MaxPads)
	}
	p.changing.Lock()
	defer p.changing.Unlock()
	if anew {
		p.Release()
	}
	var errs []error
	for i := range p.pads {
		there := connected&(1<<i) != 0
		p.mu.Lock()
		changed := p.pads[i].connected != there && !p.closed
		if changed && there { // before programs can find it
			p.pads[i].connected, p.pads[i].state, p.pads[i].last = true, wire.Pad{Index: i}, 0
		}
		p.mu.Unlock()
		if !changed {
			continue
		}
		errs = append(errs, p.cfg.Show(i, there))
		if !there {
			p.drop(i)
		}
	}
	return errors.Join(errs...)
}

// drop tells those who read a gamepad that it is gone.
func (p *Pads) drop(i int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pads[i].connected = false
	p.pads[i].set(wire.Pad{Index: i}) // for the next who finds it
	for c := range p.pads[i].clients {
		if !c.kernel { // the device stays, only its name is gone
			c.close()
		}
	}
}

// Apply takes the state of a gamepad. A state with a smaller number that comes late, and
// one of a gamepad that is not connected, has no effect.
func (p *Pads) Apply(s wire.Pad, n uint32) error {
	if !s.Valid() {
		return fmt.Errorf("%w: there is no gamepad like %+v", ErrInput, s)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	pad := &p.pads[s.Index]
	if !pad.connected || n != 0 && pad.last != 0 && int32(n-pad.last) <= 0 { // numbers may wrap
		return nil
	}
	pad.last = n
	pad.set(s)
	return nil
}

func (p *pad) set(s wire.Pad) {
	if s == p.state {
		return
	}
	p.state = s
	for c := range p.clients {
		c.add(s)
	}
}

// Release lets go of all that is held, and makes all gamepads still. After it, states may
// be numbered from 1 again.
func (p *Pads) Release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.pads {
		p.pads[i].set(wire.Pad{Index: i})
		p.pads[i].last = 0
	}
}

// Close takes all gamepads away.
func (p *Pads) Close() error {
	p.mu.Lock()
	p.closed = true
	for i := range p.pads {
		for c := range p.pads[i].clients {
			c.close()
		}
	}
	p.mu.Unlock()
	var errs []error
	for _, l := range p.listeners {
		errs = append(errs, l.Close())
	}
	p.rumbler.close()
	p.running.Wait()
	return errors.Join(errs...)
}

// maxClients is how many times a gamepad can be open.
const maxClients = 16

func (p *Pads) accept(i int, l *net.UnixListener, joystick bool) {
	for {
		conn, err := l.AcceptUnix()
		if err != nil {
			if !errors.Is(err, net.ErrClosed) {
				p.cfg.Log.Warn("the app can open no more gamepads", "error", err)
			}
			return
		}
		p.mu.Lock()
		pad := &p.pads[i]
		if !pad.connected || p.closed || len(pad.clients) >= maxClients {
			p.mu.Unlock()
			conn.Close()
			continue
		}
		c := newClient(p, i, conn, pad.state)
		c.joystick = joystick
		p.serve(c)
		p.mu.Unlock()
	}
}

// serve serves who has opened a gamepad. The caller holds p.mu, or nobody knows p yet.
func (p *Pads) serve(c *client) {
	clients := p.pads[c.index].clients
	clients[c] = struct{}{}
	p.running.Go(c.write)
	p.running.Go(func() {
		c.read()
		c.close()
		p.rumbler.forget(c)
		p.mu.Lock()
		delete(clients, c)
		p.mu.Unlock()
	})
}

// state is that of a gamepad now.
func (p *Pads) state(i int) wire.Pad {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pads[i].state
}

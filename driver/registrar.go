package driver

import (
	"cmp"
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"

	"github.com/hashicorp/go-hclog"

	"github.com/nearcast/nearcast/driver/registrar"
	"github.com/nearcast/nearcast/internal/wire"
)

// registrarOnce is the plugin's registrar. Nomad also starts plugins, and configures them,
// only to ask what they are, while the node's real plugin goes on. So the registrar starts
// with the first call that only the real one gets.
type registrarOnce struct {
	mu      sync.Mutex
	running *registrar.Registrar
}

func (o *registrarOnce) start(ctx context.Context, s settings, mhz int, log hclog.Logger) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.running != nil {
		return // the plugin's config changes with its process
	}
	o.running = registrar.New(registrar.Config{
		Dir: s.runDir, Consul: wire.ConsulRef{Address: s.consul.Address, Token: cmp.Or(s.registrarToken, s.consul.Token)}, Listen: s.listen, Pool: s.nodePool, MHz: mhz, Log: slog.New(hclogHandler{log: log.Named("registrar")}),
	})
	go o.running.Run(ctx)
}

func (o *registrarOnce) get() *registrar.Registrar {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.running
}

func (d *Driver) startRegistrar() {
	d.mu.Lock()
	s, mhz, err := d.settings, int(d.cpu.mhz), d.notSet
	d.mu.Unlock()
	if err == nil {
		d.registrar.start(d.ctx, s, mhz, d.log)
	}
}

// keep follows a task until it ends.
func (d *Driver) keep(t *task) {
	d.startRegistrar()
	d.mu.Lock()
	d.tasks[t.cfg.ID] = t
	d.mu.Unlock()
	go d.run(t)
	go d.tell(t)
}

// run follows a task's seat until it ends.
func (d *Driver) run(t *task) {
	t.run(d.ctx)
	if !t.running() && t.end.Code == wire.CodeDiskFailed {
		d.disk.seatFailed(t.end.Detail)
	}
}

// tell has brains told of a task's seat until it ends.
func (d *Driver) tell(t *task) {
	r := d.registrar.get()
	if r == nil || t.streamHost == nil || t.spec.FetchOnly { // it has ended already, or is no seat
		return
	}
	ctx, cancel := context.WithCancel(d.ctx)
	defer cancel()
	go func() {
		select {
		case <-t.done:
			cancel()
		case <-ctx.Done():
		}
	}()
	r.Follow(ctx, registrar.Task{
		ID: t.spec.Alloc, App: t.spec.App, Job: t.spec.Job, Version: t.spec.Version, Node: t.spec.Node,
		Socket: filepath.Join(t.state.Dir, wire.ControlSocket), Host: t.spec.Listen.API,
	})
}

// hclogHandler passes slog's records to Nomad's logger.
type hclogHandler struct {
	log  hclog.Logger
	with []any
	in   string // groups
}

func level(l slog.Level) hclog.Level {
	switch {
	case l >= slog.LevelError:
		return hclog.Error
	case l >= slog.LevelWarn:
		return hclog.Warn
	case l >= slog.LevelInfo:
		return hclog.Info
	}
	return hclog.Debug
}

func (h hclogHandler) Enabled(_ context.Context, l slog.Level) bool {
	return h.log.GetLevel() <= level(l)
}

func (h hclogHandler) Handle(_ context.Context, r slog.Record) error {
	args := append([]any(nil), h.with...)
	r.Attrs(func(a slog.Attr) bool {
		args = append(args, h.in+a.Key, plain(a.Value))
		return true
	})
	h.log.Log(level(r.Level), r.Message, args...)
	return nil
}

// plain is a value in a form that hclog prints well.
func plain(v slog.Value) any {
	if err, ok := v.Resolve().Any().(error); ok {
		return strings.TrimSpace(err.Error())
	}
	return v.Resolve().Any()
}

func (h hclogHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	h.with = append([]any(nil), h.with...)
	for _, a := range attrs {
		h.with = append(h.with, h.in+a.Key, plain(a.Value))
	}
	return h
}

func (h hclogHandler) WithGroup(name string) slog.Handler {
	h.in += name + "."
	return h
}

package device

import (
	"context"
	"fmt"
	"reflect"
	"sync"
	"time"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/nomad/plugins/base"
	"github.com/hashicorp/nomad/plugins/device"
	"github.com/hashicorp/nomad/plugins/shared/hclspec"

	"github.com/nearcast/nearcast/internal/version"
)

// Name is the plugin's, and that of its program.
const Name = "nomad-device-seats"

// period is how often the plugin looks at all GPUs. Critical errors come at once.
const period = 10 * time.Second

// Plugin is the device plugin. Nothing is lost when it is killed, but which GPUs had failed.
type Plugin struct {
	log    hclog.Logger
	nvml   nvml.Interface
	period time.Duration

	looking sync.Mutex   // held by who finds GPUs
	using   sync.RWMutex // held by who uses handles of GPUs that are not lost, and to stop NVML

	mu       sync.Mutex
	settings settings
	started  bool              // NVML was started
	gpus     map[string]gpu    // all that were ever found, by UUID
	lost     map[string]string // by UUID, as of the last look
	failed   map[string]string // by UUID: what a GPU reported
	said     map[string]string // last message, by subject

	wake chan struct{} // a GPU failed
}

var _ device.DevicePlugin = (*Plugin)(nil)

// New makes the plugin of a library, nvml.New() but in tests.
func New(log hclog.Logger, lib nvml.Interface) *Plugin {
	return &Plugin{
		log: log.Named(Name), nvml: lib, period: period,
		settings: settings{seats: 1},
		gpus:     map[string]gpu{}, lost: map[string]string{}, failed: map[string]string{}, said: map[string]string{},
		wake: make(chan struct{}, 1),
	}
}

// PluginInfo is the plugin's name and version.
func (*Plugin) PluginInfo() (*base.PluginInfoResponse, error) {
	return &base.PluginInfoResponse{
		Type: base.PluginTypeDevice, PluginApiVersions: []string{device.ApiVersion010},
		PluginVersion: version.String(), Name: Name,
	}, nil
}

// ConfigSchema is the schema of the plugin's config in the agent.
func (*Plugin) ConfigSchema() (*hclspec.Spec, error) { return configSpec, nil }

// SetConfig checks the plugin's config and uses it from now on.
func (p *Plugin) SetConfig(c *base.Config) error {
	if len(c.PluginConfig) == 0 {
		return nil // Nomad asks only for the plugin's name and version
	}
	var in config
	if err := base.MsgPackDecode(c.PluginConfig, &in); err != nil {
		return fmt.Errorf("decode plugin config: %w", err)
	}
	s, err := in.check()
	if err != nil {
		return fmt.Errorf("plugin config: %w", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.settings = s
	return nil
}

// Fingerprint tells of the node's GPUs, at once and whenever something changes, until ctx ends.
func (p *Plugin) Fingerprint(ctx context.Context) (<-chan *device.FingerprintResponse, error) {
	out := make(chan *device.FingerprintResponse)
	go func() {
		defer close(out)
		ctx, cancel := context.WithCancel(ctx)
		var all sync.WaitGroup
		all.Go(func() { p.watch(ctx) })
		all.Go(func() { p.tellLoad(ctx) })
		defer func() { cancel(); all.Wait() }()
		ticker := time.NewTicker(p.period)
		defer ticker.Stop()
		var told []*device.DeviceGroup
		for first := true; ; first = false {
			if err := p.look(); err != nil {
				p.say("nvml", "look for GPUs", "error", err)
			} else {
				p.say("nvml", "NVML answers")
			}
			// The first answer comes also where there is nothing: the agent waits for it.
			if groups := p.groups(); first || !reflect.DeepEqual(groups, told) {
				select {
				case out <- device.NewFingerprint(groups...):
					told = groups
				case <-ctx.Done():
					return
				}
			}
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			case <-p.wake:
			}
		}
	}()
	return out, nil
}

// say logs a message of a subject, unless it was the last one.
func (p *Plugin) say(subject, message string, args ...any) {
	text := message + fmt.Sprint(args...)
	p.mu.Lock()
	again := p.said[subject] == text
	p.said[subject] = text
	p.mu.Unlock()
	if !again {
		p.log.Info(message, args...)
	}
}

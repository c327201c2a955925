package device_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"github.com/hashicorp/nomad/plugins"
	"github.com/hashicorp/nomad/plugins/base"
	nomad "github.com/hashicorp/nomad/plugins/device"

	"github.com/nearcast/nearcast/device"
	"github.com/nearcast/nearcast/device/devicetest"
	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

// gpusEnv names the file of GPUs for the process that is the plugin.
const gpusEnv = "NEARCAST_TEST_GPUS"

func TestMain(m *testing.M) {
	if os.Getenv(base.Handshake.MagicCookieKey) == base.Handshake.MagicCookieValue {
		plugins.Serve(func(log hclog.Logger) any {
			return device.NewQuick(log, devicetest.NVML(os.Getenv(gpusEnv)))
		})
		return
	}
	os.Exit(m.Run())
}

// served is the plugin in a process of its own, as the agent has it.
func served(t *testing.T, file string, config any) nomad.DevicePlugin {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), gpusEnv+"="+file)
	client := plugin.NewClient(&plugin.ClientConfig{
		HandshakeConfig: base.Handshake,
		Plugins: map[string]plugin.Plugin{
			base.PluginTypeBase: &base.PluginBase{}, base.PluginTypeDevice: &nomad.PluginDevice{},
		},
		Cmd: cmd, AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC}, Logger: hclog.NewNullLogger(),
	})
	t.Cleanup(client.Kill)
	protocol, err := client.Client()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := protocol.Dispense(base.PluginTypeDevice)
	if err != nil {
		t.Fatal(err)
	}
	p := raw.(nomad.DevicePlugin)
	if info, err := p.PluginInfo(); err != nil || info.Type != base.PluginTypeDevice || info.Name != device.Name {
		t.Fatalf("the plugin says it is %+v, %v", info, err)
	}
	var packed []byte
	if c, ok := config.(conf); ok && c["run_dir"] == nil {
		c["run_dir"] = t.TempDir()
	}
	if err := base.MsgPackEncode(&packed, config); err != nil {
		t.Fatal(err)
	}
	if err := p.SetConfig(&base.Config{PluginConfig: packed, ApiVersion: nomad.ApiVersion010}); err != nil {
		t.Fatal(err)
	}
	return p
}

// told waits for a fingerprint of which ok is true.
func told(t *testing.T, from <-chan *nomad.FingerprintResponse, what string, ok func([]*nomad.DeviceGroup) bool) []*nomad.DeviceGroup {
	t.Helper()
	var last []*nomad.DeviceGroup
	deadline := time.After(20 * time.Second)
	for {
		select {
		case r, open := <-from:
			if !open || r.Error != nil {
				t.Fatalf("the fingerprint ended: %+v", r)
			}
			if last = r.Devices; ok(last) {
				return last
			}
		case <-deadline:
			t.Fatalf("%s: not told; the last fingerprint is %s", what, show(last))
		}
	}
}

func show(groups []*nomad.DeviceGroup) string {
	var b strings.Builder
	for _, g := range groups {
		fmt.Fprintf(&b, "%s/%s/%s", g.Vendor, g.Type, g.Name)
		for _, d := range g.Devices {
			fmt.Fprintf(&b, " %s@%s(%v %s)", d.ID, d.HwLocality.PciBusID, d.Healthy, d.HealthDesc)
		}
	}
	return b.String()
}

func attribute(g *nomad.DeviceGroup, key string) string {
	if a := g.Attributes[key]; a != nil {
		return a.GoString()
	}
	return ""
}

type conf = map[string]any

var two = devicetest.GPUs{
	{UUID: "GPU-a", Name: "NVIDIA L4", Bus: 0x3b, Minor: 0, MiB: 23034},
	{UUID: "GPU-b", Name: "NVIDIA L4", Bus: 0xaf, Minor: 1, MiB: 23034},
}

func TestSeatsOfTwoGPUs(t *testing.T) {
	file := filepath.Join(t.TempDir(), "gpus.json")
	devicetest.Write(t, file, two)
	p := served(t, file, conf{"seats_per_gpu": 1, "encoder_sessions": 9, "model": []conf{{"name": "NVIDIA L4", "seats": 2}}})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	prints, err := p.Fingerprint(ctx)
	if err != nil {
		t.Fatal(err)
	}
	groups := told(t, prints, "two GPUs of two seats", func(g []*nomad.DeviceGroup) bool { return len(g) == 1 })
	const want = "nearcast/gpu-seat/nvidia-l4 GPU-a:0@0000:3b:00.0(true ) GPU-a:1@0000:3b:00.0(true ) GPU-b:0@0000:af:00.0(true ) GPU-b:1@0000:af:00.0(true )"
	if got := show(groups); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	for key, want := range map[string]string{"memory": "11517 MiB", "encoder_sessions": "4", "seats_per_gpu": "2", "driver_version": "580.65.06"} {
		if got := attribute(groups[0], key); !strings.Contains(got, strings.Fields(want)[0]) {
			t.Errorf("attribute %s is %s, want %s", key, got, want)
		}
	}
	if unit := groups[0].Attributes["memory"].Unit; unit != "MiB" {
		t.Errorf("memory is in %q", unit)
	}

	r, err := p.Reserve([]string{"GPU-b:1"})
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{wire.EnvGPU: "GPU-b", wire.EnvGPUBusID: "0000:af:00.0", "CUDA_VISIBLE_DEVICES": "GPU-b"} {
		if r.Envs[key] != want {
			t.Errorf("%s=%q, want %q", key, r.Envs[key], want)
		}
	}
	if len(r.Devices) == 0 || r.Devices[0].HostPath != "/dev/nvidia1" || slices.ContainsFunc(r.Devices, func(d *nomad.DeviceSpec) bool { return d.HostPath == "/dev/nvidia0" }) {
		t.Errorf("device files %+v", r.Devices)
	}
	if _, err := p.Reserve([]string{"GPU-a:0", "GPU-a:1"}); err != nil {
		t.Errorf("two seats of one GPU: %v", err)
	}
	refused(t, p, "cannot use two GPUs", "GPU-a:0", "GPU-b:0")
	refused(t, p, "has no seat", "GPU-a:2")
	refused(t, p, "has no seat", "GPU-a:01")
	refused(t, p, "has no seat", "GPU-a")
	refused(t, p, "has no seat", "GPU-c:0")
	refused(t, p, "no seat is named")

	stats, err := p.Stats(ctx, 50*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	s := (<-stats).Groups[0].InstanceStats["GPU-a:0"].Stats.Attributes
	for key, want := range map[string]int64{"gpu_utilisation": 37, "encoder_utilisation": 21, "encoder_sessions": 2, "memory_used": 23034 / 2} {
		if s[key] == nil || *s[key].IntNumeratorVal != want {
			t.Errorf("statistic %s is %+v, want %d", key, s[key], want)
		}
	}

	changed := slices.Clone(two)
	changed[0].Xid = 31 // of a program
	changed[1].Xid = 79
	devicetest.Write(t, file, changed)
	told(t, prints, "the GPU that reported Xid 79 is unhealthy", func(g []*nomad.DeviceGroup) bool {
		return strings.Contains(show(g), "GPU-a:1@0000:3b:00.0(true )") && strings.Contains(show(g), "GPU-b:1@0000:af:00.0(false the GPU reported the critical error Xid 79")
	})
	refused(t, p, "is unhealthy: the GPU reported the critical error Xid 79", "GPU-b:0")

	changed[0].Lost = true
	devicetest.Write(t, file, changed)
	refused(t, p, "is unhealthy: the GPU is lost", "GPU-a:0") // at once, before the next look
	told(t, prints, "the lost GPU is unhealthy", func(g []*nomad.DeviceGroup) bool {
		return strings.Contains(show(g), "GPU-a:0@0000:3b:00.0(false the GPU is lost")
	})
	changed[0].Lost = false
	devicetest.Write(t, file, changed)
	told(t, prints, "it is back", func(g []*nomad.DeviceGroup) bool { return strings.Contains(show(g), "GPU-a:0@0000:3b:00.0(true )") })
}

func refused(t *testing.T, p nomad.DevicePlugin, why string, ids ...string) {
	t.Helper()
	if r, err := p.Reserve(ids); err == nil || !strings.Contains(err.Error(), why) {
		t.Errorf("reserve %q: %+v, %v; want an error with %q", ids, r, err, why)
	}
}

// A node without NVIDIA's library has no seats of GPUs, until the library comes.
func TestNoLibrary(t *testing.T) {
	file := filepath.Join(t.TempDir(), "gpus.json")
	devicetest.Write(t, file, nil)
	p := served(t, file, conf{"seats_per_gpu": 2})
	prints, err := p.Fingerprint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	told(t, prints, "nothing", func(g []*nomad.DeviceGroup) bool { return len(g) == 0 })
	refused(t, p, "libnvidia-ml.so.1 is not on this node", "GPU-a:0")
	devicetest.Write(t, file, two)
	told(t, prints, "the GPUs", func(g []*nomad.DeviceGroup) bool { return len(g) == 1 && len(g[0].Devices) == 4 })
}

// A GPU in MIG mode is not offered, and its neighbour is.
func TestMIG(t *testing.T) {
	file := filepath.Join(t.TempDir(), "gpus.json")
	gpus := slices.Clone(two)
	gpus[0].MIG = true
	devicetest.Write(t, file, gpus)
	p := served(t, file, conf{"seats_per_gpu": 1})
	prints, err := p.Fingerprint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	told(t, prints, "one GPU", func(g []*nomad.DeviceGroup) bool {
		return show(g) == "nearcast/gpu-seat/nvidia-l4 GPU-b:0@0000:af:00.0(true )"
	})
}

// NVML still counts GPUs, and none of them answers: it is started again.
func TestNoGPUAnswers(t *testing.T) {
	file := filepath.Join(t.TempDir(), "gpus.json")
	gpus := slices.Clone(two)
	devicetest.Write(t, file, gpus)
	p := served(t, file, conf{"seats_per_gpu": 1})
	prints, err := p.Fingerprint(t.Context())
	testkit.Must(t, err)
	healthy := func(g []*nomad.DeviceGroup) bool { return strings.Count(show(g), "(true )") == 2 }
	told(t, prints, "both are healthy", healthy)
	gpus[0].Lost, gpus[1].Lost = true, true
	devicetest.Write(t, file, gpus)
	told(t, prints, "none is healthy", func(g []*nomad.DeviceGroup) bool {
		return strings.Count(show(g), "(false NVML does not answer: no GPU answers (of 2)") == 2
	})
	gpus[0].Lost, gpus[1].Lost = false, false
	devicetest.Write(t, file, gpus)
	told(t, prints, "both are healthy again", healthy)
}

// The kernel module is gone, and loaded anew: NVML answers no more, until it is started again. Handles and event sets of
// before are used no more (the mock panics).
func TestModuleLoadedAnew(t *testing.T) {
	file, dir := filepath.Join(t.TempDir(), "gpus.json"), filepath.Join(t.TempDir(), "run")
	gpus := slices.Clone(two)
	devicetest.Write(t, file, gpus)
	p := served(t, file, conf{"seats_per_gpu": 1, "run_dir": dir})
	prints, err := p.Fingerprint(t.Context())
	testkit.Must(t, err)
	stats, err := p.Stats(t.Context(), time.Millisecond)
	testkit.Must(t, err)
	var measured atomic.Int64
	go func() {
		for s := range stats {
			for _, g := range s.Groups {
				measured.Add(int64(len(g.InstanceStats)))
			}
		}
	}()
	const healthy = "nearcast/gpu-seat/nvidia-l4 GPU-a:0@0000:3b:00.0(true ) GPU-b:0@0000:af:00.0(true )"
	for anew := range 3 {
		told(t, prints, "both are healthy", func(g []*nomad.DeviceGroup) bool { return show(g) == healthy })
		if _, err := p.Reserve([]string{"GPU-b:0"}); err != nil {
			t.Errorf("loaded anew %d times: %v", anew, err)
		}
		written := filepath.Join(dir, wire.GPUsFile)
		_ = os.Remove(written)
		was := measured.Load()
		testkit.UntilSeen(t, "GPUs are measured, and the registrar is told", func() (any, bool) {
			_, err := os.Stat(written)
			return err, err == nil && measured.Load() > was
		})
		gpus[0].Module = -1
		devicetest.Write(t, file, gpus)
		told(t, prints, "none is healthy", func(g []*nomad.DeviceGroup) bool {
			return strings.Count(show(g), "(false NVML does not answer") == 2
		})
		refused(t, p, "kernel module is not loaded", "GPU-b:0")
		gpus[0].Module = anew + 1
		devicetest.Write(t, file, gpus)
	}
	told(t, prints, "both are healthy", func(g []*nomad.DeviceGroup) bool { return show(g) == healthy })
	gpus[1].Xid = 79
	devicetest.Write(t, file, gpus)
	told(t, prints, "errors are watched", func(g []*nomad.DeviceGroup) bool {
		return strings.Contains(show(g), "GPU-a:0@0000:3b:00.0(true )") && strings.Contains(show(g), "(false the GPU reported the critical error Xid 79")
	})
}

// The registrar is told how busy each GPU is, but for one that is lost.
func TestLoadOfGPUs(t *testing.T) {
	file, dir := filepath.Join(t.TempDir(), "gpus.json"), filepath.Join(t.TempDir(), "run")
	gpus := slices.Clone(two)
	gpus[0].Busy, gpus[0].Encodes, gpus[0].Sessions = 90, 40, 7
	devicetest.Write(t, file, gpus)
	p := served(t, file, conf{"seats_per_gpu": 2, "encoder_sessions": 8, "run_dir": dir})
	if _, err := p.Fingerprint(t.Context()); err != nil {
		t.Fatal(err)
	}
	until := func(what string, want ...wire.GPULoad) {
		t.Helper()
		testkit.UntilSeen(t, what, func() (any, bool) {
			var said wire.GPUs
			text, err := os.ReadFile(filepath.Join(dir, wire.GPUsFile))
			if err != nil || json.Unmarshal(text, &said) != nil {
				return err, false
			}
			return said, slices.Equal(said.GPUs, want) && time.Since(said.At) < wire.GPUsFor
		})
	}
	b := wire.GPULoad{ID: "GPU-b", Busy: 0.37, Encoder: 0.21, Memory: 0.5, Sessions: 2}
	until("both are told", wire.GPULoad{ID: "GPU-a", Busy: 0.9, Encoder: 0.4, Memory: 0.5, Sessions: 7}, b)
	gpus[0].Lost = true
	devicetest.Write(t, file, gpus)
	until("one is lost", b)
}

// A config that cannot be is refused with what it should be.
func TestConfig(t *testing.T) {
	p := device.New(hclog.NewNullLogger(), devicetest.NVML(""))
	for _, c := range []struct {
		config conf
		say    string
	}{
		{conf{"seats_per_gpu": 0}, "seats_per_gpu = 0: must be a whole number from 1 to 64"},
		{conf{"seats_per_gpu": 1, "run_dir": "run"}, `run_dir = "run": must be the absolute path`},
		{conf{"seats_per_gpu": 1.5}, "seats_per_gpu = 1.5"},
		{conf{"seats_per_gpu": 1, "encoder_sessions": -1}, "encoder_sessions = -1: must be a whole number from 0"},
		{conf{"seats_per_gpu": 1, "model": []conf{{"name": "L4", "seats": 0}}}, "model { seats } = 0"},
		{conf{"seats_per_gpu": 1, "model": []conf{{"name": "l4", "seats": 1}, {"name": "L4", "seats": 2}}}, "once each"},
		{conf{"seats_per_gpu": 1, "model": []conf{{"name": " ", "seats": 1}}}, "must be the name of a GPU"},
	} {
		var packed []byte
		if err := base.MsgPackEncode(&packed, c.config); err != nil {
			t.Fatal(err)
		}
		if err := p.SetConfig(&base.Config{PluginConfig: packed}); err == nil || !strings.Contains(err.Error(), c.say) {
			t.Errorf("%v: %v, want %q", c.config, err, c.say)
		}
	}
}

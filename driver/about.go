package driver

import (
	"fmt"
	"time"

	"github.com/hashicorp/nomad/plugins/base"
	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/hashicorp/nomad/plugins/drivers/fsisolation"
	"github.com/hashicorp/nomad/plugins/shared/hclspec"

	"github.com/nearcast/nearcast/internal/version"
	"github.com/nearcast/nearcast/internal/wire"
)

const (
	// Name is what a job says: driver = "stream".
	Name = "stream"

	// handleVersion is the version of State. Raise it when State changes its meaning.
	handleVersion = 1
)

var info = &base.PluginInfoResponse{
	Type:              base.PluginTypeDriver,
	PluginApiVersions: []string{drivers.ApiVersion010},
	PluginVersion:     version.String(),
	Name:              Name,
}

var capabilities = &drivers.Capabilities{
	SendSignals: true,
	Exec:        true,
	// The app sees the node's root file system; docs/DRIVER.md says what is
	// hidden of it where it is isolated.
	FSIsolation: fsisolation.None,
	// The stream host must reach browsers and Consul by the node's network.
	// What the app may reach is task config: network = "none" or "host".
	NetIsolationModes: []drivers.NetIsolationMode{drivers.NetIsolationModeHost},
	// Nomad v1.11.2 does not carry this over gRPC and takes it for All.
	MountConfigs: drivers.MountConfigSupportAll,
}

// Defaults, as the schemas below give them.
const (
	defaultRunDir    = "/run/nearcast"
	defaultCacheDir  = "/var/cache/nearcast"
	defaultCacheSize = "20GiB"
	defaultConsul    = "127.0.0.1:8500"
	defaultUser      = "nobody"
	// defaultOrphanGrace is far beyond what an agent needs to recover its tasks
	// after a start, and what a start of a task takes.
	defaultOrphanGrace = "5m"
	// defaultAPI is a go-sockaddr template, as in Nomad's own config.
	defaultAPI = "{{ GetPrivateIP }}"

	// lease is how long a claimed seat waits for its browser. It is a part of
	// the protocol between brain and seat, so no operator sets it.
	lease = 15 * time.Second
)

// configSpec is the plugin block's config in the Nomad agent's configuration.
var configSpec = hclspec.NewObject(map[string]*hclspec.Spec{
	// The stream-host binary: empty looks beside the plugin, then in PATH.
	"stream_host": optional("stream_host", "string", `""`),
	// Where each seat has its control socket. Root only; a tmpfs.
	"run_dir": optional("run_dir", "string", quote(defaultRunDir)),
	// PEM file with the Ed25519 public keys of routers. Required.
	"ticket_keys": optional("ticket_keys", "string", `""`),
	// Who runs apps whose job names nobody. Only root can be another user.
	"user": optional("user", "string", quote(defaultUser)),
	// Own pid, mount and network namespaces for apps. Unset: true if root.
	"isolate": hclspec.NewAttr("isolate", "bool", false),
	// How long a seat that Nomad does not know is left alone.
	"orphan_grace": optional("orphan_grace", "string", quote(defaultOrphanGrace)),

	// Which X server shows apps.
	"display": block("display", map[string]field{
		"server":  {"string", quote(wire.ServerAuto)},
		"driver":  {"string", `"nvidia"`},
		"bus_id":  {"string", `""`},       // of one of several GPUs
		"options": {"list(string)", `[]`}, // of the driver, "Name=value"
	}),
	// The node's content cache, shared by all seats.
	"cache": block("cache", map[string]field{
		"dir":      {"string", quote(defaultCacheDir)},
		"max_size": {"string", quote(defaultCacheSize)}, // "0" is no limit but the disk
	}),
	// The object store that content comes from. Credentials come from the
	// agent's environment or the instance's role, never from here.
	"s3": block("s3", map[string]field{
		"endpoint":   {"string", `""`}, // empty is AWS
		"region":     {"string", `""`}, // empty is AWS_REGION, else us-east-1
		"path_style": {"bool", `false`},
	}),
	// The local Consul agent, with which seats register.
	"consul": block("consul", map[string]field{
		"address": {"string", quote(defaultConsul)},
		"token":   {"string", `""`},
	}),
	// Where seats are reached. IPs may be go-sockaddr templates.
	"listen": block("listen", map[string]field{
		"api":       {"string", quote(defaultAPI)}, // by brains
		"media":     {"string", `""`},              // by browsers; empty is every address
		"public_ip": {"string", `""`},              // instead of media, behind a 1:1 NAT
		"port_min":  {"number", `0`},               // UDP; 0 is the system's choice
		"port_max":  {"number", `0`},
		"loopback":  {"bool", `false`}, // offer 127.0.0.1 too
	}),
})

// taskConfigSpec is a task's config in a job.
var taskConfigSpec = hclspec.NewObject(map[string]*hclspec.Spec{
	// The app: a path, or a name in the app's PATH.
	"command": hclspec.NewAttr("command", "string", true),
	"args":    hclspec.NewAttr("args", "list(string)", false),
	// Who runs it; else the task's user, else the plugin's.
	"user": optional("user", "string", `""`),
	// What the app may reach: "none" (its own loopback) or "host".
	"network": optional("network", "string", `"none"`),
	// Stop the app's processes while nobody holds the seat.
	"freeze_idle": optional("freeze_idle", "bool", `true`),
	// When: after so long without painting or computing, which it does while it
	// loads, and at the latest.
	"freeze_quiet":  optional("freeze_quiet", "string", `"2s"`),
	"freeze_latest": optional("freeze_latest", "string", `"60s"`),
	// The app's sound.
	"audio": optional("audio", "bool", `true`),

	// Objects that must be on disk before the app starts.
	"content": hclspec.NewBlockList("content", hclspec.NewObject(map[string]*hclspec.Spec{
		"source":      hclspec.NewAttr("source", "string", true),
		"destination": hclspec.NewAttr("destination", "string", true),
		"sha256":      optional("sha256", "string", `""`),
	})),
	"display": block("display", map[string]field{
		"width":   {"number", `1280`},
		"height":  {"number", `720`},
		"fps":     {"number", `30`},
		"pointer": {"string", `"absolute"`},
	}),
	"video": block("video", map[string]field{
		"codec":   {"string", `"h264"`},
		"encoder": {"string", `"auto"`},
		"bitrate": {"string", `"6Mbps"`},
	}),

	"start_timeout":   optional("start_timeout", "string", `"60s"`),   // app start → first window
	"reconnect_grace": optional("reconnect_grace", "string", `"60s"`), // browser lost → end
	"idle_timeout":    optional("idle_timeout", "string", `"10m"`),    // without input; "0" never
	"max_duration":    optional("max_duration", "string", `"8h"`),     // of a session; "0" never
})

// field is an attribute of a block: its type and its default, both in HCL.
type field struct{ kind, value string }

func optional(name, kind, value string) *hclspec.Spec {
	return hclspec.NewDefault(hclspec.NewAttr(name, kind, false), hclspec.NewLiteral(value))
}

// block is an optional block with defaults that also hold where it is left out.
func block(name string, fields map[string]field) *hclspec.Spec {
	attrs := make(map[string]*hclspec.Spec, len(fields))
	absent := "{"
	for key, f := range fields {
		attrs[key] = optional(key, f.kind, f.value)
		absent += fmt.Sprintf(" %s = %s,", key, f.value)
	}
	return hclspec.NewDefault(
		hclspec.NewBlock(name, false, hclspec.NewObject(attrs)),
		hclspec.NewLiteral(absent+" }"),
	)
}

func quote(s string) string {
	// "{{" needs no escape in HCL; only "${" and "%{" open a template there.
	return fmt.Sprintf("%q", s)
}

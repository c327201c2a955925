package driver

import (
	"fmt"

	"github.com/hashicorp/nomad/plugins/shared/hclspec"

	"github.com/nearcast/nearcast/internal/unixuser"
	"github.com/nearcast/nearcast/internal/wire"
)

// Defaults of the schemas below.
const (
	defaultRunDir    = "/run/nearcast"
	defaultCacheDir  = "/var/cache/nearcast"
	defaultCacheSize = "20GiB"
	defaultConsul    = "127.0.0.1:8500"
	defaultWritable  = "512MiB"
	// defaultProcesses is far more than any app needs, and what a node can bear.
	defaultProcesses = 4096
	// defaultOrphanGrace is much longer than an agent takes to recover its tasks
	// after a start, and longer than the start of a task takes.
	defaultOrphanGrace = "5m"
	// defaultAPI is a go-sockaddr template, as Nomad's own config takes.
	defaultAPI = "{{ GetPrivateIP }}"
)

// configSpec is the plugin block's config in the Nomad agent's configuration.
var configSpec = hclspec.NewObject(map[string]*hclspec.Spec{
	// The stream-host and seat-keeper binaries. Empty: beside the plugin, then in PATH.
	"stream_host": optional("stream_host", "string", `""`),
	"seat_keeper": optional("seat_keeper", "string", `""`),
	// Parent of the seats' run directories. For root alone, best on a tmpfs.
	"run_dir": optional("run_dir", "string", quote(defaultRunDir)),
	// PEM file with the Ed25519 public keys of the routers. Required.
	"ticket_keys": optional("ticket_keys", "string", `""`),
	// The node's Nomad pool, which the agent does not tell. Empty: brains do not know it.
	"node_pool": optional("node_pool", "string", `""`),
	// Make a cell for each seat. Unset: true if root.
	"isolate": hclspec.NewAttr("isolate", "bool", false),
	// The user ids that seats get: for each live seat one of the first half for its app,
	// and one of the second half for its stream host. Nothing else may use them.
	"users": block("users", map[string]field{
		"min": {"number", fmt.Sprint(unixuser.Seats.Min)},
		"max": {"number", fmt.Sprint(unixuser.Seats.Max)},
	}),
	// What jobs may ask for.
	"allow": block("allow", map[string]field{
		"users":    {"list(string)", `[]`}, // instead of a seat's own; root only where it is named
		"networks": {"list(string)", `["none", "internet"]`},
		"volumes":  {"bool", `true`},
		"devices":  {"list(string)", `["/dev/nvidia*", "/dev/dri/*"]`}, // patterns, of what device plugins give
	}),
	// What the programs of a seat see of the node, and how much they may use.
	"cell": block("cell", map[string]field{
		"paths":           {"list(string)", `[]`}, // of the node, read-only, in addition
		"writable":        {"string", quote(defaultWritable)},
		"processes":       {"number", fmt.Sprint(defaultProcesses)},
		"user_namespaces": {"bool", `false`},
		"i386":            {"bool", `false`},
		"uinput":          {"bool", `false`}, // gamepads as devices of the kernel
	}),
	// The network "internet".
	"internet": block("internet", map[string]field{
		"deny":      {"list(string)", `[]`}, // networks of the site that are not private ones
		"resolvers": {"list(string)", `[]`}, // name servers; empty is the node's
	}),
	// How long a seat may run that Nomad does not know.
	"orphan_grace": optional("orphan_grace", "string", quote(defaultOrphanGrace)),

	// Which X server shows apps.
	"display": block("display", map[string]field{
		"server":  {"string", quote(wire.ServerAuto)},
		"driver":  {"string", `"nvidia"`},
		"bus_id":  {"string", `""`},       // selects one of several GPUs
		"options": {"list(string)", `[]`}, // of the driver, "Name=value"
	}),
	// The node's content cache, shared by all seats.
	"cache": block("cache", map[string]field{
		"dir":      {"string", quote(defaultCacheDir)},
		"max_size": {"string", quote(defaultCacheSize)}, // "0": only the disk limits it
	}),
	// The object store of content. Credentials come from the agent's environment
	// or the instance's role, never from here.
	"s3": block("s3", map[string]field{
		"endpoint":   {"string", `""`}, // empty is AWS
		"region":     {"string", `""`}, // empty is AWS_REGION, else us-east-1
		"path_style": {"bool", `false`},
	}),
	// The local Consul agent, which knows the site's brains.
	"consul": block("consul", map[string]field{
		"address":         {"string", quote(defaultConsul)},
		"token":           {"string", `""`}, // of stream hosts
		"registrar_token": {"string", `""`}, // of the registrar, which registers the node; empty is token
	}),
	// Addresses of seats. An IP may be a go-sockaddr template.
	"listen": block("listen", map[string]field{
		"api":       {"string", quote(defaultAPI)}, // for brains
		"media":     {"string", `""`},              // for browsers; empty is every address
		"public_ip": {"string", `""`},              // replaces media behind a 1:1 NAT
		"port_min":  {"number", `0`},               // UDP; 0: the system chooses
		"port_max":  {"number", `0`},
		"loopback":  {"bool", `false`}, // offer 127.0.0.1 too
	}),
	// Where people may be, and so where seats send packets at a browser's word.
	"ice": block("ice", map[string]field{
		"private": {"bool", `false`},      // also in private networks
		"deny":    {"list(string)", `[]`}, // not there, such as the site's public addresses
	}),
})

// taskConfigSpec is a task's config in a job.
var taskConfigSpec = hclspec.NewObject(map[string]*hclspec.Spec{
	// The app: a path, or the name of a program in the app's PATH.
	"command": hclspec.NewAttr("command", "string", true),
	"args":    hclspec.NewAttr("args", "list(string)", false),
	// The app's user. Empty: the user of the task, else one of the seat's own.
	"user": optional("user", "string", `""`),
	// What the app may reach: "none" (only its own loopback), "internet" (the outside
	// world, without the node and the site) or "host".
	"network": optional("network", "string", `"none"`),
	// The seat needs a GPU: its job reserves one from the device plugin.
	"gpu": optional("gpu", "bool", `false`),
	// How much the app can write, in memory; empty is the plugin's.
	"writable": optional("writable", "string", `""`),
	// When the app starts: "ready", before the seat is idle, or "claim", when a session
	// claims the seat, with the session's parameters.
	"start": optional("start", "string", `"ready"`),
	// What says that the app is presentable: its first "window", or the "app" itself, by
	// nearcast-app ready.
	"ready": optional("ready", "string", `"window"`),
	// Freeze the app while the seat is idle.
	"freeze_idle": optional("freeze_idle", "bool", `true`),
	// When to freeze: after this long without painting or computing, which an
	// app does while it loads; and at the latest.
	"freeze_quiet":  optional("freeze_quiet", "string", `"2s"`),
	"freeze_latest": optional("freeze_latest", "string", `"60s"`),
	// The page asks before it is closed: work can be lost.
	"confirm_leave": optional("confirm_leave", "bool", `false`),
	// Who of those who run the site may look at stills of the picture: none, operator, admin.
	"stills": optional("stills", "string", `"none"`),
	// Which way clips go between the person's clipboard and the app's: "none", "in",
	// "out" or "both".
	"clipboard": optional("clipboard", "string", `"none"`),
	// Stream the app's sound.
	"audio": optional("audio", "bool", `true`),
	// Give the app the person's gamepads.
	"gamepads": optional("gamepads", "bool", `true`),

	// Objects that must be on disk before the app starts.
	"content": hclspec.NewBlockList("content", hclspec.NewObject(map[string]*hclspec.Spec{
		"source":      hclspec.NewAttr("source", "string", true),
		"destination": hclspec.NewAttr("destination", "string", true),
		"sha256":      optional("sha256", "string", `""`),
		"version_id":  optional("version_id", "string", `""`), // the store's, of an object
		"manifest":    optional("manifest", "string", `""`),   // of a prefix, by nearcast app publish
	})),
	// No seat: fetch the content into the node's cache, and end.
	"fetch_only": optional("fetch_only", "bool", `false`),
	"display": block("display", map[string]field{
		"width":   {"number", `1280`},
		"height":  {"number", `720`},
		"fps":     {"number", `30`},
		"pointer": {"string", `"auto"`},
		// The display follows the person's window between these sizes, "640x360"; empty
		// is width and height.
		"min": {"string", `""`},
		"max": {"string", `""`},
		// How large the app draws its UI: "auto" as the person's device does, or a number.
		"scale": {"string", `"auto"`},
		// Give the app fingers as touches. Else they are a mouse.
		"touch": {"bool", `false`},
	}),
	"video": block("video", map[string]field{
		"codec":   {"string", `"h264"`},
		"encoder": {"string", `"auto"`},
		"bitrate": {"string", `"6Mbps"`},
	}),

	"content_timeout": optional("content_timeout", "string", `"30m"`), // for all content; "0" never
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

// block is an optional block. Its defaults also hold where the block is missing.
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

package wire

import (
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// The driver and the keeper of one seat share a run directory that only root (or the
// user both run as) can read. The keeper is the process that the driver starts: it makes
// the cell and starts the stream host. In the directory:
const (
	SpecFile      = "spec.json"       // Spec; written by the driver before it starts the keeper
	ControlSocket = "control.sock"    // HTTP over a unix socket; opened by the keeper, served by the stream host as long as it runs
	ExitFile      = "exit.json"       // Exit; written by the keeper when the stream host reports the end, by rename
	LogFile       = "stream-host.log" // of the stream host and the keeper
	ScratchLink   = "scratch"         // symbolic link to a directory outside the task's; removed together with the run directory
)

// GamepadLibrary is the file beside the stream host's binary by which apps see gamepads.
// A node without it has none.
const GamepadLibrary = "nearcast-gamepad.so"

// Requests on ControlSocket.
const (
	StatusPath = "/status" // GET → StreamHostStatus
	EventsPath = "/events" // GET → StreamHostEvents since ?after=N, then as they come; one JSON object a line
	SeatPath   = "/seat"   // GET → Seat as it is, then at each change; one JSON object a line
	StopPath   = "/stop"   // POST StopRequest → 202; the stream host ends with that reason
	SignalPath = "/signal" // POST SignalRequest → 204; delivered to the app
)

// Spec is all a stream host needs to know, as the driver wrote it.
type Spec struct {
	// Nonce tells this start from any other of the same task.
	Nonce   string `json:"nonce"`
	Alloc   string `json:"alloc"`
	Task    string `json:"task"`
	App     string `json:"app"`
	Job     string `json:"job"`
	Version uint64 `json:"version"`
	Node    string `json:"node"`

	RunDir  string `json:"run_dir"`
	TaskDir string `json:"task_dir"` // the app's working directory
	Stdout  string `json:"stdout"`   // FIFOs of Nomad's log collector
	Stderr  string `json:"stderr"`

	Command string            `json:"command"`
	Args    []string          `json:"args"`
	Env     map[string]string `json:"env"` // whole environment of the app
	// Params are the parameters that the app's job declares. Args may hold their
	// placeholders.
	Params []Param `json:"params,omitempty"`
	// StartOnClaim starts the app when a session claims the seat, with the session's
	// parameters. The seat is idle before that, with its display.
	StartOnClaim bool `json:"start_on_claim,omitempty"`
	// ReadyByApp has the app say when it is presentable (ReadyPath). Else its first window
	// says so.
	ReadyByApp bool `json:"ready_by_app,omitempty"`
	// User runs the app, its display and its sound, in the grammar of unixuser; empty
	// is the user of the keeper.
	User string `json:"user,omitempty"`
	// HostUser runs the stream host, likewise.
	HostUser string `json:"host_user,omitempty"`
	// OwnUsers are the user ids that no other seat has. The driver ends every process of
	// them with the seat.
	OwnUsers []int `json:"own_users,omitempty"`
	// StreamHost and SeatKeeper are the paths of the binaries.
	StreamHost string `json:"stream_host"`
	SeatKeeper string `json:"seat_keeper"`
	// Isolate makes a cell. It needs root.
	Isolate bool `json:"isolate"`
	Cell    Cell `json:"cell"`
	// Network is NetworkNone (loopback only), NetworkInternet or NetworkHost.
	Network string  `json:"network"`
	Mounts  []Mount `json:"mounts,omitempty"`
	// Devices are device files of the node that the app may use.
	Devices []string `json:"devices,omitempty"`
	// GPU is the UUID of the GPU that the seat has reserved, of which Devices has the files and
	// XServer the bus id. Empty: none, and with Xorg the app may use all GPUs of the node.
	GPU string `json:"gpu,omitempty"`
	// SharedDir is the directory that the tasks of the allocation share.
	SharedDir string `json:"shared_dir,omitempty"`

	Content []Content `json:"content,omitempty"`
	Cache   Cache     `json:"cache"`
	S3      S3        `json:"s3"`

	Display Display `json:"display"`
	// XServer is what the display is made of.
	XServer XServer `json:"x_server"`
	Video   Video   `json:"video"`
	// Memory is where the kernel counts what the seat uses.
	Memory Memory `json:"memory"`
	// CellCgroup is the directory of the cgroup of all that the app can keep busy, beside
	// that of keeper and stream host. Empty: all of them are in one cgroup.
	CellCgroup string `json:"cell_cgroup,omitempty"`
	// ConfirmLeave is Grant.ConfirmLeave.
	ConfirmLeave bool `json:"confirm_leave,omitempty"`
	// Stills says who may look at stills of the picture: StillsOperator or StillsAdmin; else nobody.
	Stills string `json:"stills,omitempty"`
	// FreezeIdle stops the app's processes while the seat is idle, so that a
	// warm seat costs memory and no CPU.
	FreezeIdle bool `json:"freeze_idle"`
	// FreezeQuietS is for how long an idle app must neither paint nor compute
	// before it is stopped: then it has loaded. 0 is the stream host's default.
	FreezeQuietS int `json:"freeze_quiet_s"`
	// FreezeLatestS is when it is stopped in any case; 0 is the stream host's default.
	FreezeLatestS int `json:"freeze_latest_s"`

	ContentTimeoutS int `json:"content_timeout_s,omitempty"` // for all content; 0 never
	StartTimeoutS   int `json:"start_timeout_s"`             // app start → first window, or the app's word
	LeaseS          int `json:"lease_s"`                     // claim → browser connected
	ReconnectGraceS int `json:"reconnect_grace_s"`           // browser lost → end
	IdleTimeoutS    int `json:"idle_timeout_s"`              // without input; 0 never
	MaxDurationS    int `json:"max_duration_s"`              // of a session; 0 never

	// TicketKeys is a PEM file with the Ed25519 public keys of routers.
	TicketKeys string    `json:"ticket_keys"`
	Consul     ConsulRef `json:"consul"`
	Listen     Listen    `json:"listen"`
	// FetchOnly fetches the content into the node's cache ahead of seats, and ends then.
	// It is no seat: brains are not told of it.
	FetchOnly bool `json:"fetch_only,omitempty"`
}

// FetchNamespace is the Nomad namespace of the jobs that have nodes fetch content by themselves.
// Nodes start only fetches there.
const FetchNamespace = "fetches"

// CellFirst reports whether the cell, with display and sound, is started beside the fetch of
// the content. A volume in the task's directory forbids it: the cell makes its mount point in
// a layer over that directory, which hides what content brings to the same directory later.
// So does a volume above it, which covers the directory that is closed until then.
func (s Spec) CellFirst() bool {
	return !s.FetchOnly && !slices.ContainsFunc(s.Mounts, func(m Mount) bool {
		return below(m.Task, s.TaskDir) || below(s.TaskDir, m.Task)
	})
}

// CellAhead reports whether the cell is made before the stream host asks for it.
func (s Spec) CellAhead() bool { return !s.FetchOnly && (len(s.Content) == 0 || s.CellFirst()) }

// below reports whether path is dir or in it, by their names.
func below(path, dir string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, "../")
}

const (
	NetworkNone     = "none"
	NetworkInternet = "internet" // the outside world, without the node and the site
	NetworkHost     = "host"
)

// Cell says what the programs of a seat see of the node, and how much they may use. It
// has no meaning without Isolate.
type Cell struct {
	// Paths of the node that programs see, read-only, in addition to those that every
	// program needs.
	Paths []string `json:"paths,omitempty"`
	// WritableBytes is how much the programs can write, all in memory.
	WritableBytes int64 `json:"writable_bytes"`
	// MaxProcesses limits processes and threads; 0 is no limit.
	MaxProcesses int `json:"max_processes"`
	// UserNamespaces lets programs make user namespaces, for sandboxes of their own.
	UserNamespaces bool `json:"user_namespaces,omitempty"`
	// Uinput makes gamepads as devices of the kernel, where the node has uinput.
	Uinput bool `json:"uinput,omitempty"`
	// I386 lets programs of 32-bit x86 run, such as those of Wine.
	I386 bool `json:"i386,omitempty"`
	// Deny are networks, as CIDR, that NetworkInternet must not reach, beyond private ones.
	Deny []string `json:"deny,omitempty"`
	// Resolvers are the name servers of NetworkInternet; empty is the node's.
	Resolvers []string `json:"resolvers,omitempty"`
}

// Mount is a path of the node that the task was promised (Nomad volumes, alloc dirs).
type Mount struct {
	Node     string `json:"node"`
	Task     string `json:"task"`
	ReadOnly bool   `json:"read_only,omitempty"`
}

// XServer says which X server shows the apps of a node: its operator's choice.
type XServer struct {
	// Server is one of those below.
	Server string `json:"server"`
	// Driver is Xorg's: "nvidia", or "dummy" for tests without a GPU.
	Driver string `json:"driver,omitempty"`
	// BusID picks one of several GPUs, as Xorg names them: "PCI:1:0:0".
	BusID string `json:"bus_id,omitempty"`
	// Options are the driver's own, as "Name=value".
	Options []string `json:"options,omitempty"`
}

const (
	// ServerAuto is Xorg where there is a GPU and all that Xorg needs to draw with it, else
	// Xvfb, or Xdummy for a job with Display.Touch.
	ServerAuto   = "auto"
	ServerXvfb   = "xvfb"   // draws in software, as the app's user
	ServerXdummy = "xdummy" // so does Xorg with its driver "dummy", which has a wheel and a touch screen
	ServerXorg   = "xorg"   // draws with a GPU, as root
)

// Content is an object, or with a trailing slash all objects below a prefix,
// that must be on disk before the app starts.
type Content struct {
	Source      string `json:"source"`           // s3://bucket/key or s3://bucket/prefix/
	Destination string `json:"destination"`      // under TaskDir
	SHA256      string `json:"sha256,omitempty"` // hex; of a single object
	// VersionID is the store's id of a version of a single object; empty is the present one.
	VersionID string `json:"version_id,omitempty"`
	// Manifest names one version of all below a prefix, as nearcast app publish stored it:
	// "sha256:" and the hex digits of a Manifest.
	Manifest string `json:"manifest,omitempty"`
}

// Cache is the node's content cache, shared by all seats.
type Cache struct {
	Dir      string `json:"dir"`
	MaxBytes int64  `json:"max_bytes"` // 0 is no limit but the disk
}

// S3 says how to reach the object store. Credentials come by the SDK's own
// chain (environment, instance role) and are never given to the app.
type S3 struct {
	Endpoint  string `json:"endpoint,omitempty"` // empty is AWS
	Region    string `json:"region"`
	PathStyle bool   `json:"path_style,omitempty"`
}

// Video is what the encoder is asked for.
type Video struct {
	Codec      string `json:"codec"`       // "h264" or "vp8"
	Encoder    string `json:"encoder"`     // a GStreamer element, or "auto"
	BitrateBPS int    `json:"bitrate_bps"` // ceiling, and where congestion control starts
}

// Memory is a seat's limit of memory.
type Memory struct {
	// Events is the file of the kernel with a line "oom_kill N"; empty where nothing
	// limits the seat.
	Events     string `json:"events,omitempty"`
	LimitBytes int64  `json:"limit_bytes,omitempty"`
}

// ConsulRef is the local Consul agent.
type ConsulRef struct {
	Address string `json:"address"` // host:port
	Token   string `json:"token,omitempty"`
}

// Listen says on which addresses a seat is reached.
type Listen struct {
	// API is the IP on which the seat serves its API, to brains.
	API string `json:"api"`
	// Media is the IP of the ICE host candidates; empty is every address.
	Media string `json:"media,omitempty"`
	// PublicIP replaces Media in candidates behind a 1:1 NAT.
	PublicIP string `json:"public_ip,omitempty"`
	// PortMin and PortMax bound the UDP ports; 0 is the system's choice.
	PortMin uint16 `json:"port_min,omitempty"`
	PortMax uint16 `json:"port_max,omitempty"`
	// Loopback offers 127.0.0.1 too, for a person on the same machine.
	Loopback bool `json:"loopback,omitempty"`
	// Private lets people be in private networks: the seat sends to addresses there
	// if a browser names them.
	Private bool `json:"private,omitempty"`
	// Deny are networks, as CIDR, in which no person is, such as the site's own
	// public addresses.
	Deny []string `json:"deny,omitempty"`
}

// StreamHostStatus answers StatusPath.
type StreamHostStatus struct {
	Nonce string `json:"nonce"`
	PID   int    `json:"pid"` // of the keeper
	// AppPID and InitPID are the app's main process and the cell's first process, as
	// the node sees them.
	AppPID  int       `json:"app_pid,omitempty"`
	InitPID int       `json:"init_pid,omitempty"`
	State   SeatState `json:"state"`
	Seat    Seat      `json:"seat"`
}

// StreamHostEvent becomes a Nomad task event.
type StreamHostEvent struct {
	Seq     int       `json:"seq"` // 1, 2, 3 …
	Time    time.Time `json:"time"`
	Message string    `json:"message"`
	// Annotations are small facts: phase, fraction, session, reason.
	Annotations map[string]string `json:"annotations,omitempty"`
}

// StopRequest is the body of StopPath.
type StopRequest struct {
	Reason Reason `json:"reason"`
	// Signal is sent to the app first, by name ("SIGINT"); empty is SIGTERM.
	Signal string `json:"signal,omitempty"`
	// TimeoutMS is how long the app has before it is killed.
	TimeoutMS int64 `json:"timeout_ms"`
}

// SignalRequest is the body of SignalPath.
type SignalRequest struct {
	Signal string `json:"signal"` // "SIGHUP"
}

// Exit is the last word of a stream host.
type Exit struct {
	Nonce string    `json:"nonce"`
	Time  time.Time `json:"time"`
	End   End       `json:"end"`
}

// Fingerprint is what "stream-host fingerprint" prints, one JSON object: what this
// node can do. The driver's own fingerprint is made of it. The flag
// --x-server takes an XServer as JSON; without it, that is auto.
type Fingerprint struct {
	Version   string   `json:"version"`         // of the stream host
	GStreamer string   `json:"gstreamer"`       // version
	Encoders  []string `json:"encoders"`        // GStreamer elements that really encode here, best first
	Display   string   `json:"display"`         // display server and version; empty if none
	Sound     string   `json:"sound,omitempty"` // sound server and version; empty if none
	// Problems say why seats cannot run here, each with what to do; empty is healthy.
	Problems []string `json:"problems,omitempty"`
	// Notes say what could be better, each with what to do. Seats run.
	Notes []string `json:"notes,omitempty"`
}

// CellFingerprint is what "seat-keeper fingerprint" prints, one JSON object: what this
// node has for cells. The driver's own fingerprint is made of it too.
type CellFingerprint struct {
	Version string `json:"version"` // of the keeper
	// Landlock is the version of the kernel's interface; 0 if there is none to use.
	Landlock int `json:"landlock"`
	// NoInternet says why no job can have the network "internet" here, and what to do;
	// empty if jobs can.
	NoInternet string `json:"no_internet,omitempty"`
}

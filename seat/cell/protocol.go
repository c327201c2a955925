package cell

import "github.com/nearcast/nearcast/internal/wire"

// Orders of the stream host to the cell's first process. It answers each with an
// Event of the same ID.
const (
	OpWrite = "write" // Path, Data: make a private file in an existing directory
	OpStart = "start" // Program, with the files that become its descriptors 0, 1, 2 …
	OpFind  = "find"  // Program: only say whether the app's command can be started
	OpDial  = "dial"  // Path: connect to a Unix socket; the answer has the connection
	OpOpen  = "open"  // Path: the answer has a descriptor of the file, made with O_PATH
	// OpListen makes the Unix socket Path; the answer has it.
	OpListen = "listen"
	// OpListenLoopback makes a TCP socket on a free port of 127.0.0.1; the answer has it.
	OpListenLoopback = "listen-loopback"

	OpParams = "params" // Data: put it in place of the file Path
	// OpLink makes the symbolic link Path to Target; without Target it takes the link away.
	OpLink   = "link"
	OpSignal = "signal" // Signal to the main process of the program Name; Group: to its process group
	OpFreeze = "freeze" // stop every process of the app
	OpThaw   = "thaw"
	OpKill   = "kill" // end every process of the app
	OpCPU    = "cpu"  // the answer has the processor time of the app's processes
)

// Order is a message to the cell's first process. Once the app runs, only orders
// from OpParams on are carried out: the app could have changed a path.
type Order struct {
	ID      int      `json:"id"`
	Op      string   `json:"op"`
	Name    string   `json:"name,omitempty"`
	Path    string   `json:"path,omitempty"`
	Target  string   `json:"target,omitempty"`
	Data    []byte   `json:"data,omitempty"`
	Program *Program `json:"program,omitempty"`
	Signal  int      `json:"signal,omitempty"`
	Group   bool     `json:"group,omitempty"`
}

// Program is what runs in a cell under a name.
type Program struct {
	Name string   `json:"name"`
	Path string   `json:"path"` // of the executable file; for the app, also a name in SearchPath
	Args []string `json:"args"` // with the program's name first
	Env  []string `json:"env"`
	Dir  string   `json:"dir"`
	// SearchPath is where the app's command is looked up, as in PATH.
	SearchPath string `json:"search_path,omitempty"`
}

// App is the name of the program that is the seat's app. All processes of the cell
// that do not descend from another program are the app's.
const App = "app"

// ParamsFile is the name of the file with the session's parameters, in the directory
// Made.Runtime.
const ParamsFile = "nearcast-params.json"

// Event is a message of the cell's first process: the answer to an order, or with
// End the end of a program.
type Event struct {
	ID  int    `json:"id,omitempty"`
	PID int    `json:"pid,omitempty"` // as the cell's processes see it
	CPU int64  `json:"cpu,omitempty"` // nanoseconds
	End string `json:"end,omitempty"` // name of the program that ended
	// ExitCode, or Signal, is how it ended.
	ExitCode int `json:"exit_code,omitempty"`
	Signal   int `json:"signal,omitempty"`
	// Error says why the order failed, with a code of wire.End where there is one.
	Error string `json:"error,omitempty"`
	Code  string `json:"code,omitempty"`
}

// Requests of the stream host to its keeper.
const (
	RequestContent = "content" // fetch the app's files
	RequestCancel  = "cancel"  // end RequestContent, which then fails; it has no answer of its own
	RequestCell    = "cell"    // make the cell; the answer has its Conn
	RequestReport  = "report"  // Exit: how the seat ended
	RequestKeys    = "keys"    // the answer has the routers' public keys, as they are now
)

// Request is a message of the stream host to its keeper. One request at a time is
// carried out: while content is fetched, each other request cancels that, and is carried
// out then.
type Request struct {
	Op   string     `json:"op"`
	Exit *wire.Exit `json:"exit,omitempty"`
}

// Notice is a message of the keeper to the stream host.
type Notice struct {
	// Progress of RequestContent: bytes.
	Done  int64  `json:"done,omitempty"`
	Total int64  `json:"total,omitempty"`
	File  string `json:"file,omitempty"`
	// Answer says that the request was carried out, unless Failed says why not.
	Answer string    `json:"answer,omitempty"`
	Failed *wire.End `json:"failed,omitempty"`
	// Spoilt says that files of the seat may have wrong bytes, after they were there.
	Spoilt *wire.End `json:"spoilt,omitempty"`
	// Cell answers RequestCell.
	Cell *Made `json:"cell,omitempty"`
	// Display says that a display server that the keeper runs has ended, and why.
	Display string `json:"display,omitempty"`
}

// Made describes a cell.
type Made struct {
	// Isolated is whether the cell has namespaces of its own, OwnRoot whether it has a
	// file system of its own.
	Isolated bool `json:"isolated"`
	OwnRoot  bool `json:"own_root"`
	// Init is the pid of the cell's first process, as the node sees it.
	Init int `json:"init"`
	// User is the name of the user that runs the seat's programs.
	User string `json:"user"`
	// Home and Runtime are the seat's private directories, as its programs see them.
	Home    string `json:"home"`
	Runtime string `json:"runtime"`
	// Gamepads is the library by which programs see the seat's gamepads, as they see its
	// path. GamepadFiles are device files in its place; then a connection for each comes
	// with the cell. Without either there are none.
	Gamepads     string   `json:"gamepads,omitempty"`
	GamepadFiles []string `json:"gamepad_files,omitempty"`
	// Tools is the directory of the commands that a seat adds to the app's PATH; empty is none.
	Tools string `json:"tools,omitempty"`
	// Display is the X server that the keeper runs; nil if the stream host starts one.
	Display *MadeDisplay `json:"display,omitempty"`
}

// MadeDisplay is an X server that the keeper runs.
type MadeDisplay struct {
	Name   string   `json:"name"` // for operators: "Xorg nvidia"
	Number int      `json:"number"`
	Cookie [16]byte `json:"cookie"`
	PID    int      `json:"pid"`
}

// FetchArg makes the stream-host binary fetch the content of the spec at SpecFD, tell
// KeeperFD how it goes (Notice), and end. With the answer comes a file whose lock keeps
// the content in the node's cache.
const FetchArg = "fetch"

// Descriptors that a keeper gives to the stream host, after the standard three.
const (
	KeeperFD  = 3 // Conn: Request and Notice
	ControlFD = 4 // the listening control socket
	SpecFD    = 5 // the wire.Spec, as JSON
)

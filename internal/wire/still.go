package wire

import "time"

// StillPath is one still of what the person of a session sees. It goes this way, each time as POST
// with a StillRequest, and is answered by a Still:
//
//	console → router    StillPath below the session's path, with an operators' token
//	router  → router    the same, at the session's site
//	router  → brain     the same, at the internal listener
//	brain   → seat      "/v1" + StillPath
//
// Only where the job allows it: Seat.Stills is in the seat's record, and the seat itself decides. A still
// that was refused is a Problem:
//
//	403  the job allows it not, or not for this role; or the session does not hold the seat
//	409  the person's page is not connected, so that they see nothing and cannot be told; or no picture
//	     came in time (ProblemNoStill)
//	410  the session is over
//	429  too many; Retry-After says when
//
// The person's page is told of each still before it is made (MsgLooked). Nobody keeps one: no cache, no
// event and no log has it.
const StillPath = "/still"

// SeatStillPath is StillPath at the seat.
const SeatStillPath = "/v1" + StillPath

// Who may look at stills, by the job's option "stills".
const (
	StillsNone     = "none"
	StillsOperator = "operator" // operators and admins
	StillsAdmin    = "admin"
)

const (
	// MaxStillSide is the largest width and height of a still, in pixels.
	MaxStillSide = 640
	// MaxStill is the largest still in bytes, and MaxStillBody the largest answer that has one: JSON
	// has bytes in base64.
	MaxStill     = 200 << 10
	MaxStillBody = MaxStill*4/3 + 1<<10
	// StillWithin is how long a seat takes for a still at most. A picture that stands still is
	// captured once a second.
	StillWithin = 2500 * time.Millisecond
	// StillEvery is how often a seat makes one.
	StillEvery = 2 * time.Second
)

// StillRequest asks for a still.
type StillRequest struct {
	Session string `json:"session"`
	// Role is that of who looks: RoleOperator or RoleAdmin. The seat cannot check it: the console does.
	Role ConsoleRole `json:"role"`
}

// Still is a picture of what the person sees, without a cursor that their page draws.
type Still struct {
	Session string    `json:"session"`
	At      time.Time `json:"at"` // when it was captured
	Width   int       `json:"width"`
	Height  int       `json:"height"`
	JPEG    []byte    `json:"jpeg"` // baseline, MaxStill bytes at most
}

// MayLook reports whether the role may look at stills, by the job's option.
func MayLook(stills string, role ConsoleRole) bool {
	switch stills {
	case StillsOperator:
		return role == RoleOperator || role == RoleAdmin
	case StillsAdmin:
		return role == RoleAdmin
	}
	return false
}

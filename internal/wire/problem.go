package wire

import "fmt"

// Problem is an RFC 9457 problem details object, media type application/problem+json.
type Problem struct {
	// Type is a URI reference that names the kind of problem: "/problems/unknown-app".
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	// Detail says what to do about this occurrence.
	Detail string `json:"detail,omitempty"`
	// Field is a JSON pointer (RFC 6901) to the request's field at fault: "/rtt_ms/us-east-1".
	Field string `json:"field,omitempty"`
}

// ProblemType is the media type of Problem.
const ProblemType = "application/problem+json"

func (p Problem) Error() string {
	if p.Field != "" {
		return fmt.Sprintf("%s (%s): %s", p.Title, p.Field, p.Detail)
	}
	return fmt.Sprintf("%s: %s", p.Title, p.Detail)
}

// Kinds of problem. Each is documented under its path in the OpenAPI document.
const (
	ProblemMalformed   = "/problems/malformed"      // 400 not JSON, wrong type, unknown field
	ProblemInvalid     = "/problems/invalid"        // 422 well-formed, but a value is not allowed
	ProblemTooLarge    = "/problems/too-large"      // 413 body over 64 KiB
	ProblemHeaders     = "/problems/headers"        // 431 headers over 16 KiB
	ProblemMediaType   = "/problems/media-type"     // 415 not application/json
	ProblemUnknownApp  = "/problems/unknown-app"    // 404
	ProblemUnknownSite = "/problems/unknown-site"   // 422
	ProblemNotFound    = "/problems/not-found"      // 404
	ProblemMethod      = "/problems/method"         // 405
	ProblemTicket      = "/problems/ticket"         // 401 forged or expired
	ProblemAPIKey      = "/problems/api-key"        // 401 missing, unknown or revoked
	ProblemLaunchToken = "/problems/launch-token"   // 401 missing, or does not allow this launch
	ProblemLaunchOver  = "/problems/launch-expired" // 401 the launch token has expired
	ProblemLogin       = "/problems/login"          // 401 the person has not logged in, or no longer
	ProblemLoginGroups = "/problems/login-groups"   // 403 the person is not of those who may
	ProblemTooMany     = "/problems/too-many"       // 429 too many messages or connections
	ProblemTicketUsed  = "/problems/ticket-used"    // 403
	ProblemForbidden   = "/problems/forbidden"      // 403 a good token of another session
	ProblemNoStill     = "/problems/no-still"       // 409 nobody sees a picture, or none came in time
	ProblemSessions    = "/problems/sessions"       // 429 too many sessions at once
	ProblemRate        = "/problems/rate"           // 429 too many requests of one network
	ProblemResume      = "/problems/resume"         // 410 the session of the token is over
	ProblemNoSite      = "/problems/no-site"        // 503 no site can serve this now
	ProblemStartFailed = "/problems/start-failed"   // 503 seats of this app fail to start
	ProblemUnavailable = "/problems/unavailable"    // 503 this replica cannot serve now
	ProblemInternal    = "/problems/internal"       // 500
)

package brain

import (
	"fmt"
	"net/http"

	"github.com/coder/websocket"

	"github.com/nearcast/nearcast/internal/answer"
	"github.com/nearcast/nearcast/internal/wire"
)

func refused(p wire.Problem) outcome {
	return outcome{message: wire.Message{Type: wire.MsgRefused, Problem: &p}, code: wire.CloseRefused}
}

func ended(e wire.End) outcome {
	e = e.Public()
	return outcome{message: wire.Message{Type: wire.MsgEnded, End: &e}, code: wire.CloseEnded}
}

// toAnotherBrain closes without a last message. The page then connects to
// another brain.
func toAnotherBrain() outcome { return outcome{code: int(websocket.StatusServiceRestart)} }

func malformed(detail string) wire.Problem {
	return wire.Problem{Type: wire.ProblemMalformed, Title: "Malformed message", Status: 400, Detail: detail}
}

func badTicket(title, detail string) wire.Problem {
	return wire.Problem{Type: wire.ProblemTicket, Title: title, Status: 401, Detail: detail}
}

func lapsed() wire.Problem {
	return badTicket("The ticket has expired", "Press Play again. A page that waits must renew its ticket in time.")
}

func ticketUsed(detail string) wire.Problem {
	return wire.Problem{Type: wire.ProblemTicketUsed, Title: "The ticket was already used", Status: 403, Detail: detail}
}

func unknownApp(id string) wire.Problem {
	return wire.Problem{Type: wire.ProblemUnknownApp, Title: "Unknown app", Status: 404,
		Detail: "This site has no app " + id + ". GET /v1/apps lists the apps."}
}

func noVersion(app App, asked uint64) wire.Problem {
	return wire.Problem{Type: wire.ProblemNoSite, Title: "This version is not available", Status: 503, Field: "/version",
		Detail: fmt.Sprintf("This site now has version %d of %s, and no seat of version %d. Press Play again, or ask for no version to get the newest.",
			app.Version, app.ID, asked)}
}

func unavailable(detail string) wire.Problem {
	return wire.Problem{Type: wire.ProblemUnavailable, Title: "Not available now", Status: 503, Detail: detail}
}

func tooMuch(detail string) wire.Problem {
	return wire.Problem{Type: wire.ProblemTooMany, Title: "Too many", Status: 429, Detail: detail}
}

func tooLarge(kind wire.MessageType) wire.Problem {
	return wire.Problem{Type: wire.ProblemTooLarge, Title: "Message too large", Status: 413,
		Detail: fmt.Sprintf("A message of type %q has at most %d bytes.", kind, largest(kind))}
}

func startFailed(why wire.End) wire.Problem {
	return wire.Problem{Type: wire.ProblemStartFailed, Title: "The app does not start", Status: 503, Detail: why.Public().String()}
}

func sessionOver(detail string) wire.Problem {
	return wire.Problem{Type: wire.ProblemResume, Title: "The session is over", Status: 410,
		Detail: detail + " Press Play to start a new session."}
}

func noSession(detail string) wire.Problem {
	return wire.Problem{Type: wire.ProblemNotFound, Title: "No such session", Status: 404, Detail: detail}
}

// retryAfter is the Retry-After of a refusal, in seconds: a place is free as soon as
// somebody leaves.
const retryAfter = "2"

func writeProblem(rw http.ResponseWriter, p wire.Problem) {
	if p.Status == http.StatusTooManyRequests || p.Status == http.StatusServiceUnavailable {
		rw.Header().Set("Retry-After", retryAfter)
	}
	answer.Write(rw, p)
}

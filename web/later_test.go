package web_test

import (
	"github.com/nearcast/nearcast/internal/wire"
)

// A part of the player that is loaded later does not come: the session goes on, its end has a
// button, and the part is asked for again.
func walkLaterLost(v *visit) {
	v.site.lacks.Store("/assets/js/later.js")
	b, _ := v.play()
	b.say(wire.Message{Type: wire.MsgEnded, End: &wire.End{Reason: wire.ReasonIdle}})
	v.state("ended")
	v.untilText("Start again")
	v.site.lacks.Store("")
	v.press(".primary")
	b = v.site.nextBrain()
	v.site.serve(b, false)
	v.state("streaming")
	b.say(wire.Message{Type: wire.MsgEnded, End: &wire.End{Reason: wire.ReasonIdle}})
	v.untilText("You were away")
}

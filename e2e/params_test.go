package e2e

import (
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/testkit"
)

// A person's link sets a parameter; the app that starts for them has it, in a warm seat
// too. A value that the job does not allow is refused at the page.
func TestParamsReachTheApp(t *testing.T) {
	ctx := testkit.Context(t, 2*time.Minute)
	app := runApp(ctx, t, map[string]string{
		"params": `[{"name":"model","pattern":"[a-z ]+","default":"robot"},{"name":"key","secret":true}]`,
		"start":  "claim", "warm": "1", "max": "2",
		"script": `echo "arg=$1 env=$NEARCAST_PARAM_MODEL"; exec "$0" -fps 30`,
	})
	testkit.Must(t, site.WaitIdle(ctx, app))
	page := open(ctx, t, app+"?param.model=red%20car")
	play(ctx, t, page)
	appOutput(ctx, t, app, "arg=red car env=red car\n")
	leave(ctx, t, page)

	page = open(ctx, t, app+"?param.model=7")
	testkit.Must(t, page.Click(ctx, ".play-button"))
	testkit.Must(t, page.Until(ctx, "nearcast.state === 'refused' && document.body.innerText.includes('does not match')"))
}

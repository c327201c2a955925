package router

import (
	"errors"
	"maps"

	"github.com/nearcast/nearcast/internal/params"
	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

// setParams checks the parameters that a launch sets, and puts them into its ticket.
// The launch token's come first. A page sets those of an app that needs none: of others, only the
// customer knows what a person may set.
func setParams(claims *ticket.Claims, declared []wire.Param, page map[string]string, launch launcher, access wire.Access) error {
	if len(page) > 0 && (access == wire.AccessSigned || access == wire.AccessLogin && !launch.loggedIn()) {
		return problem(wire.ProblemInvalid, "/params", "The launch token sets the parameters of this app; put them into the token.")
	}
	if _, err := params.Values(declared, page, params.Page); err != nil {
		return paramProblem(err, true)
	}
	if _, err := params.Values(declared, launch.Params, params.Token); err != nil {
		return paramProblem(err, false)
	}
	all := maps.Clone(page)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, launch.Params)
	if _, err := params.Values(declared, all, params.Token); err != nil {
		return paramProblem(err, true) // too much together
	}
	claims.Params = all
	return nil
}

// paramProblem points to a value of the page's that cannot be set.
func paramProblem(err error, page bool) error {
	var wrong *params.Error
	if !errors.As(err, &wrong) {
		return err
	}
	if !page {
		return problem(wire.ProblemInvalid, "", "The launch token sets something that the app does not take: %s", wrong)
	}
	field := "/params"
	if wrong.Name != "" {
		field = pointer(field, wrong.Name)
	}
	return problem(wire.ProblemInvalid, field, "%s", wrong.Why)
}

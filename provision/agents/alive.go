package agents

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// answers asks without a token, and returns what stands in the answer, whatever its status is.
func answers(ctx context.Context, url string) (text string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	client := http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true, Proxy: nil},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	res, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 1<<12))
	if err == nil && res.StatusCode != http.StatusOK {
		return "", nil
	}
	return strings.TrimSpace(string(body)), err
}

// led asks an agent who leads its servers. Consul and Nomad have the same path for it.
func led(ctx context.Context, name, url string) error {
	leader, err := answers(ctx, url+"/v1/status/leader")
	if err != nil {
		return fmt.Errorf("ask %s for its leader: %w", name, err)
	}
	if strings.Trim(leader, `"`) == "" {
		return errors.New("the site's " + name + " has no leader")
	}
	return nil
}

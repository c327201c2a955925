package nodetest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// Ask sends a request to the API of one of the node's agents, the one at the port.
func (h *Node) Ask(method string, port int, path, token string, body, into any) error {
	var in bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&in).Encode(body); err != nil {
			return err
		}
	}
	req, err := http.NewRequestWithContext(h.ctx, method, fmt.Sprintf("http://%s:%d%s", h.Address, port, path), &in)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode/100 != 2 {
		return &RefusedError{res.StatusCode, string(text)}
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(text, into)
}

// RefusedError is an agent's answer with a status other than 2xx.
type RefusedError struct {
	Status int
	Text   string
}

func (e *RefusedError) Error() string { return fmt.Sprintf("%d: %s", e.Status, e.Text) }

// IsRefused reports whether an agent answered with the status.
func IsRefused(err error, status int) bool {
	var e *RefusedError
	return errors.As(err, &e) && e.Status == status
}

// Leader is the address of the leader that the node's Consul or Nomad follows.
func (h *Node) Leader(port int, token string) (string, error) {
	var address string
	err := h.Ask("GET", port, "/v1/status/leader", token, nil, &address)
	if err == nil && address == "" {
		err = errors.New("there is no leader")
	}
	return address, err
}

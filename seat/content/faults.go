package content

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"

	"github.com/nearcast/nearcast/internal/wire"
)

var (
	// errReplaced: the object is not the one that was listed.
	errReplaced = errors.New("object was replaced while it was read")
	// errShort: the response ended too early.
	errShort = errors.New("response ended too early")
)

// status is the HTTP status of a failed request, or 0.
func status(err error) int {
	var response *awshttp.ResponseError
	if errors.As(err, &response) {
		return response.HTTPStatusCode()
	}
	return 0
}

// skewed reports whether the store refused a request because of its time.
func skewed(err error) bool {
	var api smithy.APIError
	return errors.As(err, &api) && api.ErrorCode() == "RequestTimeTooSkewed"
}

// temporary reports whether a retry may help.
func temporary(err error) bool {
	if errors.Is(err, errReplaced) || noCredentials(err) {
		return false
	}
	var end wire.End
	if errors.As(err, &end) {
		return false
	}
	switch code := status(err); {
	case code == http.StatusTooManyRequests, code == http.StatusRequestTimeout:
		return true
	case code >= 400 && code < 500:
		return false
	}
	return true
}

func noCredentials(err error) bool {
	return strings.Contains(err.Error(), "get credentials") || strings.Contains(err.Error(), "get identity")
}

// explain makes the seat's end from the store's last error.
func (s *store) explain(name string, err error) error {
	var end wire.End
	if errors.As(err, &end) || errors.Is(err, errReplaced) {
		return err
	}
	var api smithy.APIError
	code := ""
	if errors.As(err, &api) {
		code = api.ErrorCode()
	}
	where := s.settings.Endpoint
	if where == "" {
		where = "AWS S3 in " + s.settings.Region
	}
	switch {
	case errors.Is(err, errShort):
		return failure(wire.CodeContentTrunc, "%s: %s sent fewer bytes than the object has; check the proxies between node and store", name, where)
	case noCredentials(err):
		return failure(wire.CodeContentDenied, "%s: the node has no credentials for %s; give it an instance role or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY", name, where)
	case code == "NoSuchBucket":
		return failure(wire.CodeContentMissing, "%s: the bucket does not exist at %s; create it, or correct the source", name, where)
	case status(err) == http.StatusNotFound:
		return failure(wire.CodeContentMissing, "%s does not exist at %s; upload it, or correct the source", name, where)
	case status(err) == http.StatusForbidden, status(err) == http.StatusUnauthorized:
		return failure(wire.CodeContentDenied, "%s: %s refused the node's credentials (%s); allow it s3:GetObject and s3:ListBucket", name, where, code)
	}
	return failure(wire.CodeContentStore, "%s: %s failed: %v", name, where, brief(err))
}

// brief returns the innermost cause: the errors around it only repeat it.
func brief(err error) error {
	var op *net.OpError
	var dns *net.DNSError
	var api smithy.APIError
	switch {
	case errors.As(err, &dns):
		return dns
	case errors.As(err, &op):
		return op
	case errors.As(err, &api):
		return fmt.Errorf("%s (HTTP %d)", api.ErrorCode(), status(err))
	}
	return err
}

package sql

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// nonsense listens and says the same to everybody, again after whatever it hears.
func nonsense(t *testing.T, text string) (port int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		wg.Wait()
	})
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(15 * time.Second))
				for buf := make([]byte, 4096); ; {
					if _, err := io.WriteString(c, text); err != nil || text == "" {
						return
					}
					if _, err := c.Read(buf); err != nil {
						return
					}
				}
			})
		}
	})
	return l.Addr().(*net.TCPAddr).Port
}

// TestNonsenseIsATemporaryFailure: what is no database, or a broken one, never says that a user does not exist.
func TestNonsenseIsATemporaryFailure(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"hangs up":                        "",
		"a mail server":                   "* OK ready\r\n",
		"a web server":                    "HTTP/1.1 400 Bad Request\r\n\r\n",
		"zeros":                           strings.Repeat("\x00", 64),
		"ones":                            strings.Repeat("\xff", 64),
		"pgsql: a huge message":           "R\x7f\xff\xff\xff",
		"pgsql: a short message":          "R\x00\x00\x00\x00",
		"pgsql: an unknown way to log in": "R\x00\x00\x00\x08\x00\x00\x00\x63",
		"pgsql: logged in, then rubbish":  "R\x00\x00\x00\x08\x00\x00\x00\x00Z\x00\x00\x00\x05ID\xff\xff\xff\xf0",
		"mysql: a huge packet":            "\xff\xff\xff\x00\x0a5.5",
		"mysql: an error":                 "\x09\x00\x00\x00\xff\x10\x04too m",
		"mysql: an old protocol":          "\x05\x00\x00\x00\x09old\x00",
		"mysql: a greeting that is short": "\x02\x00\x00\x00\x0a\x00",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, driver := range []string{"pgsql", "mysql"} {
				d := openFile(t, fmt.Sprintf("driver = %s\nconnect = host=127.0.0.1 port=%d user=x password=s3cret dbname=x\npassword_query = SELECT 'x' AS password\n", driver, nonsense(t, text)))
				ctx, cancel := context.WithTimeout(t.Context(), 400*time.Millisecond)
				got := show(d.Lookup(ctx, request("a")))
				cancel()
				if !strings.HasPrefix(got, "error: ") || strings.Contains(got, "s3cret") {
					t.Errorf("%s: %s", driver, got)
				}
			}
		})
	}
}

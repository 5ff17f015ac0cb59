package auth

import (
	"testing"

	"dproxy/passdb/scheme"
)

// BenchmarkCachedLogin is a login whose answer and password check come from the cache.
func BenchmarkCachedLogin(b *testing.B) {
	for _, name := range []string{"PLAIN", "BLF-CRYPT", "SHA512-CRYPT"} {
		b.Run(name, func(b *testing.B) {
			hash, err := scheme.Generate(name, "p", "", 0)
			if err != nil {
				b.Fatal(err)
			}
			f := caching()
			f.settings.AuthUsernameFormat = "%Lu"
			r := newRig(b, f, &counted{vars: []string{"user"}, users: memory{"u": user(hash, "proxy", "y", "host", "192.0.2.1")}})
			q := Request{Mech: "PLAIN", Initial: []byte("\x00u\x00p"), HasInitial: true}
			login := func() {
				if _, _, reply := r.Start(b.Context(), q); reply == nil || !reply.OK {
					b.Fatalf("%+v", reply)
				}
				r.log.events = r.log.events[:0]
			}
			login()
			b.ReportAllocs()
			for b.Loop() {
				login()
			}
		})
	}
}

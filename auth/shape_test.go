package auth

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"dproxy/conf"
	"dproxy/passdb"
)

func TestFieldsThatGoWithAnAnswer(t *testing.T) {
	given := passdb.Result{
		Password: "{PLAIN}x", HasPassword: true,
		Fields: []passdb.Field{{Name: "pw", Value: "{PLAIN}y"}, {Name: "host", Value: "h1"}, {Name: "port", Value: "1143"}},
	}
	for _, tt := range []struct {
		name     string
		driver   string
		only     bool
		fields   [][2]string
		password string
		want     []passdb.Field
	}{
		{
			"a field from another one", "sql", false,
			[][2]string{{"host", "%{passdb:host}.%d"}},
			"{PLAIN}x",
			[]passdb.Field{{Name: "pw", Value: "{PLAIN}y"}, {Name: "port", Value: "1143"}, {Name: "host", Value: "h1.example.org"}},
		},
		{
			"nothing else is taken", "sql", true,
			[][2]string{{"password", "%{passdb:pw}"}, {"proxy", "y"}, {"port:protected", "%{passdb:port}"}},
			"{PLAIN}y",
			[]passdb.Field{{Name: "proxy", Value: "y"}, {Name: "port:protected", Value: "1143"}},
		},
		{"the column password by its name", "sql", true, [][2]string{{"password", "%{passdb:password}"}}, "{PLAIN}x", nil},
		{"no password without naming it", "sql", true, nil, "none", nil},
		{"the password of a passwd-file stays", "passwd-file", true, nil, "{PLAIN}x", nil},
		{"what is there already stays", "sql", false, [][2]string{{"host:protected", "other"}, {"password:protected", "other"}}, "{PLAIN}x", given.Fields},
		{
			"a field is removed", "sql", false,
			[][2]string{{"pw:remove", ""}},
			"{PLAIN}x",
			[]passdb.Field{{Name: "host", Value: "h1"}, {Name: "port", Value: "1143"}, {Name: "pw:remove"}},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := &entry{Passdb: conf.Passdb{Driver: tt.driver, OnlyAnswers: tt.only}}
			for _, f := range tt.fields {
				value, err := conf.ParseTemplate(f[1], conf.AuthLetters)
				if err != nil {
					t.Fatal(err)
				}
				e.answers = append(e.answers, fieldTemplate{f[0], value})
			}
			res := given
			if err := e.shape(&res, &passdb.Request{User: "u@example.org"}); err != nil {
				t.Fatal(err)
			}
			password := "none"
			if res.HasPassword {
				password = string(res.Password)
			}
			if d := cmp.Diff(tt.want, res.Fields); d != "" || password != tt.password {
				t.Errorf("password %q, fields (-want +got):\n%s", password, d)
			}
		})
	}
}

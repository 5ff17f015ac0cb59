package passdb

import "strings"

// Field is one extra field. A flag such as proxy has an empty Value.
type Field struct{ Name, Value string }

// Secret tells whether a field's value is none of an administrator's business.
func (f Field) Secret() bool {
	switch f.Name {
	case "pass", "password", "password_noscheme", "token":
		return true
	}
	return strings.HasSuffix(f.Name, "_password") || strings.HasSuffix(f.Name, "_token")
}

// Fields is the ordered list of extra fields of one login. Setting a field that exists replaces
// its value at the old place, as Dovecot's auth fields do.
type Fields struct{ list []Field }

// Get returns a field's value and whether the field exists.
func (f *Fields) Get(name string) (string, bool) {
	for i := range f.list {
		if f.list[i].Name == name {
			return f.list[i].Value, true
		}
	}
	return "", false
}

// Has tells whether a field exists. Flags are tested for existence only: proxy=n means yes.
func (f *Fields) Has(name string) bool { _, ok := f.Get(name); return ok }

// Set adds a field or replaces its value.
func (f *Fields) Set(name, value string) {
	for i := range f.list {
		if f.list[i].Name == name {
			f.list[i].Value = value
			return
		}
	}
	f.list = append(f.list, Field{name, value})
}

// Remove deletes a field.
func (f *Fields) Remove(name string) {
	for i := range f.list {
		if f.list[i].Name == name {
			f.list = append(f.list[:i], f.list[i+1:]...)
			return
		}
	}
}

// All returns the fields in order. The slice is the caller's to read only.
func (f *Fields) All() []Field { return f.list }

// Clone returns an independent copy, the snapshot that a failing passdb is rolled back to.
func (f *Fields) Clone() Fields { return Fields{append([]Field(nil), f.list...)} }

// WithPrefix returns the fields whose name starts with prefix (ASCII case-insensitive), in order.
func (f *Fields) WithPrefix(prefix string) []Field {
	var out []Field
	for _, x := range f.list {
		if len(x.Name) >= len(prefix) && strings.EqualFold(x.Name[:len(prefix)], prefix) {
			out = append(out, x)
		}
	}
	return out
}

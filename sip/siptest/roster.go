package siptest

// changed tells who watches the conference that something is new.
func (c *conference) changed() {}

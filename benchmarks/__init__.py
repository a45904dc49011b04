"""Every number we publish can be run again from here."""

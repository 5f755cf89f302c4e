"""Final answers: found in a text (`extract`), read into a typed tree (`parser`), compared by type (`compare`)."""

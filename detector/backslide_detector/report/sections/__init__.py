"""From evidence to sections: each file decides what one section shows, and in which words."""

"""What config.py is made of: files and words, lists per facet, checks. yaml_files and comparing are for others, too."""

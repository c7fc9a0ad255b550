"""What config.py is made of: files and words, lists per facet, checks. Only yaml_files is for others, too."""

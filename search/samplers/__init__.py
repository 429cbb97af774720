"""The samplers: where the next trial of an arm lies. Each module holds one family; ``search.sampler`` picks one."""

"""The bundled triggers. They import the contract only; AWS reaches them through `self.context.aws`."""

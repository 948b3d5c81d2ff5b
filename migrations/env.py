"""Alembic's entry: runs on the connection that `daemon.store.migrate` hands over."""

from alembic import context

from daemon.store.schema import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()

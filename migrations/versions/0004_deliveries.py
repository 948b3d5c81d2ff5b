"""How each sink is, and events that a sink rejected so often that they were given up."""

import sqlalchemy as sa
from alembic import op


revision: str = '0004'
down_revision: str | None = '0003'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('sink_state',
    sa.Column('name', sa.String(), nullable=False),
    sa.Column('failures', sa.Integer(), server_default=sa.text('0'), nullable=False),
    sa.Column('error', sa.String(), nullable=True),
    sa.Column('next_try_at', sa.String(), nullable=True),
    sa.Column('delivered_at', sa.String(), nullable=True),
    sa.PrimaryKeyConstraint('name', name=op.f('pk_sink_state'))
    )
    # A plain statement: a batch would copy the whole table, however many million rows it has.
    op.add_column('delivery', sa.Column('given_up_at', sa.String(), nullable=True))
    op.execute('UPDATE delivery SET attempts = 0, next_try_at = NULL WHERE delivered_at IS NULL')
    op.drop_index('ix_delivery_waiting', 'delivery')
    op.create_index('ix_delivery_waiting', 'delivery', ['sink', 'event_id'], unique=False, sqlite_where=sa.text('delivered_at IS NULL AND given_up_at IS NULL'))
    op.create_index('ix_delivery_given_up', 'delivery', ['sink', 'event_id'], unique=False, sqlite_where=sa.text('given_up_at IS NOT NULL'))


def downgrade() -> None:
    op.drop_index('ix_delivery_given_up', 'delivery')
    op.drop_index('ix_delivery_waiting', 'delivery')
    op.create_index('ix_delivery_waiting', 'delivery', ['sink', 'event_id'], unique=False, sqlite_where=sa.text('delivered_at IS NULL'))
    op.drop_column('delivery', 'given_up_at')
    op.drop_table('sink_state')
